import assert from 'node:assert/strict'
import { test } from 'node:test'

import { AnnouncedPeers } from './announced-peers.ts'

const BOUNDS = { maxAgeMs: 1000, maxPeers: 100, maxPeersPerKey: 4, maxPeersPerHost: 2 }

const peer = (host: number, port: number) => Buffer.from([10, 0, 0, host, port >> 8, port & 255])
const names = (peers: Buffer[]) => peers.map((compact) => compact.toString('hex')).sort()

test('keeps a peer once, for as long as it is announced', () => {
  let nowMs = 0
  const peers = new AnnouncedPeers(BOUNDS, () => nowMs)
  peers.add('k', peer(1, 1))
  nowMs = 900
  peers.add('k', peer(1, 1))
  peers.add('k', peer(2, 1))
  nowMs = 1500
  assert.deepEqual(names(peers.get('k')), names([peer(1, 1), peer(2, 1)]))
  nowMs = 1901
  assert.deepEqual(peers.get('k'), [])
  assert.equal(peers.size, 0)
})

test('bounds the peers of a key, and those of one host at it', () => {
  const peers = new AnnouncedPeers(BOUNDS, () => 0)
  for (const port of [1, 2, 3]) peers.add('k', peer(1, port))
  assert.deepEqual(names(peers.get('k')), names([peer(1, 1), peer(1, 2)]))
  for (const host of [2, 3, 4]) peers.add('k', peer(host, 1))
  assert.equal(peers.get('k').length, 4)
  assert.equal(peers.size, 4)
})

test('gives a random choice of no more than it was asked for', () => {
  const bounds = { ...BOUNDS, maxPeersPerKey: 50 }
  const peers = new AnnouncedPeers(bounds, () => 0)
  for (let host = 0; host < 50; host += 1) peers.add('k', peer(host, 1))
  const choices = Array.from({ length: 50 }, () => peers.get('k', 5))
  assert.ok(choices.every((choice) => new Set(names(choice)).size === 5))
  assert.ok(new Set(choices.flatMap(names)).size > 25)
})

test('over all, forgets what expired, and then the keys announced least recently', () => {
  let nowMs = 0
  const peers = new AnnouncedPeers({ ...BOUNDS, maxPeers: 3 }, () => nowMs)
  for (const key of ['a', 'b', 'c']) peers.add(key, peer(1, 1))
  peers.add('a', peer(1, 1))
  peers.add('d', peer(1, 1))
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((key) => peers.get(key).length),
    [1, 0, 1, 1],
  )
  nowMs = 2000
  peers.add('e', peer(1, 1))
  assert.equal(peers.size, 1)
})
