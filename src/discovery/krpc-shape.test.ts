import assert from 'node:assert/strict'
import { test } from 'node:test'

import { bencoded } from '../testing/bencoded.ts'
import { decodeDatagram } from './krpc-bencode.ts'
import { isWellFormed } from './krpc-shape.ts'

const id = Buffer.alloc(20, 1)
const key = Buffer.alloc(20, 2)
const token = Buffer.alloc(20, 3)
const t = Buffer.from('aa')

/** As a datagram would be read: the check never sees anything that was not decoded. */
function isTaken(message: unknown): boolean {
  return isWellFormed(decodeDatagram(bencoded(message)))
}

const question = (q: unknown, a: unknown, more = {}) => ({ t, y: 'q', q, a, ...more })
const answer = (r: unknown, more = {}) => ({ t, y: 'r', r, ...more })

for (const [name, message] of Object.entries({
  'a ping': question('ping', { id }),
  'a ping with what other clients add': question(
    'ping',
    { id, want: ['n4'] },
    { v: 'LT12', ro: 1 },
  ),
  'a transaction of 16 bytes': { ...question('ping', { id }), t: Buffer.alloc(16) },
  find_node: question('find_node', { id, target: key }),
  get_peers: question('get_peers', { id, info_hash: key }),
  announce_peer: question('announce_peer', { id, info_hash: key, token, port: 6881 }),
  'announce_peer with implied port': question('announce_peer', {
    id,
    info_hash: key,
    token: Buffer.from('x'),
    port: 0,
    implied_port: 1,
  }),
  get: question('get', { id, target: key, seq: 4 }),
  'an answer': answer({ id }),
  'an answer with nodes': answer({ id, nodes: Buffer.alloc(52), token }),
  'an answer with values': answer(
    { id, values: [Buffer.alloc(6)], token },
    { ip: Buffer.alloc(6) },
  ),
  'an error': { t, y: 'e', e: [203, 'bad token'] },
})) {
  test(`takes ${name}`, () => {
    assert.equal(isTaken(message), true)
  })
}

// engine.md lists these as crashers of bittorrent-dht 11.0.12; others of the same kind were added.
for (const [name, message] of Object.entries({
  'find_node with a number as target': question('find_node', { id, target: 1 }),
  'find_node with a list as target': question('find_node', { id, target: [1] }),
  'find_node with a short target': question('find_node', { id, target: Buffer.alloc(19) }),
  'find_node without target': question('find_node', { id }),
  'get_peers with a number as info_hash': question('get_peers', { id, info_hash: 7 }),
  'get_peers with a dictionary as info_hash': question('get_peers', { id, info_hash: { a: 1 } }),
  'announce_peer with a number as token': question('announce_peer', {
    id,
    info_hash: key,
    token: 1,
    port: 1,
  }),
  'announce_peer with a list as token': question('announce_peer', {
    id,
    info_hash: key,
    token: [token],
    port: 1,
  }),
  'announce_peer with bytes as port': question('announce_peer', {
    id,
    info_hash: key,
    token,
    port: '1',
  }),
  'announce_peer with a port too large': question('announce_peer', {
    id,
    info_hash: key,
    token,
    port: 65536,
  }),
  'get with a number as target': question('get', { id, target: 1 }),
  'get with a list as target': question('get', { id, target: [] }),
  'put with a number as token': question('put', { id, token: 1, v: 'x' }),
  'put with sig and no k': question('put', { id, token, v: 'x', sig: Buffer.alloc(64) }),
  'put with a number as value, which fails when the table is saved': question('put', {
    id,
    token,
    v: 5,
  }),
  'an id of 19 bytes': question('ping', { id: Buffer.alloc(19) }),
  'a number as id': question('ping', { id: 1 }),
  'no id': question('ping', {}),
  'no arguments': { t, y: 'q', q: 'ping' },
  'arguments that are bytes': question('ping', 'x'),
  'an unknown question': question('vote', { id }),
  'a question named like a method of every object': question('toString', { id }),
  'a dictionary as question': question({ toString: 'x' }, { id }),
  'a dictionary as kind': { t, y: { toString: 'x' }, q: 'ping', a: { id } },
  'a list as kind': { t, y: ['q'], q: 'ping', a: { id } },
  'an unknown kind': { t, y: 'x' },
  'no transaction': { y: 'q', q: 'ping', a: { id } },
  'a transaction of 17 bytes': { ...question('ping', { id }), t: Buffer.alloc(17) },
  'a number as transaction': { ...question('ping', { id }), t: 1 },
  'an answer with a number as id': answer({ id: 1 }),
  'an answer with a short id': answer({ id: Buffer.alloc(4) }),
  'an answer without r': { t, y: 'r' },
  'an answer with a number as r': answer(1),
  'an answer with another transaction than ours': { ...answer({ id }), t: Buffer.alloc(1) },
  'an answer with half a node': answer({ id, nodes: Buffer.alloc(27) }),
  'an answer with a list of nodes': answer({ id, nodes: [Buffer.alloc(26)] }),
  'an answer with a number among the values': answer({ id, values: [1] }),
  'an answer with a value of 5 bytes': answer({ id, values: [Buffer.alloc(5)] }),
  'an answer with bytes as values': answer({ id, values: Buffer.alloc(6) }),
  'an answer with a number as token': answer({ id, token: 1 }),
  'an answer with a number as v': answer({ id, v: 1 }),
  'an answer with a short signature': answer({ id, v: 'x', k: Buffer.alloc(32), sig: 'x' }),
  'an error that is no list': { t, y: 'e', e: 'x' },
  'an error of what cannot be printed': { t, y: 'e', e: [{ toString: 'x' }, 'x'] },
  'a list': [t],
  'a number': 5,
})) {
  test(`refuses ${name}`, () => {
    assert.equal(isTaken(message), false)
  })
}
