import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import type { SwarmKey } from './swarm-key.ts'
import { PerSwarmKey, SwarmKeys, type Admission } from './swarm-keys.ts'

const [old, next, older, other] = [newKey(), newKey(), newKey(), newKey()]
const [met, metLate, revoked] = ['a'.repeat(64), 'b'.repeat(64), 'c'.repeat(64)]

test('one key is current, newest and all there is', () => {
  const keys = new SwarmKeys(old)
  assert.equal(keys.current, old)
  assert.equal(keys.newest, old)
  assert.deepEqual(keys.known, [old])
  assert.equal(keys.admissionOf(met, old), 'member')
  assert.equal(keys.admissionOf(met, next), 'refused')
})

test('while a key changes, what is sent is of the old one, what comes may be of both', () => {
  const keys = new SwarmKeys(old)
  let changes = 0
  keys.on('change', () => (changes += 1))
  keys.set({
    current: old,
    accepted: [next, old],
    former: [{ key: older, endedAtMs: 1 }],
    metAtMs: new Map(),
    revoked: new Set(),
  })
  assert.equal(changes, 1)
  assert.equal(keys.current, old)
  assert.equal(keys.newest, next)
  assert.deepEqual(keys.known, [next, old, older])
  assert.deepEqual(keys.opening, [next, old])
})

test('a key that was taken away is good for who was met before, and less so later', () => {
  const keys = new SwarmKeys(old)
  const state = {
    current: next,
    accepted: [next, old],
    former: [
      { key: old, endedAtMs: 200 },
      { key: older, endedAtMs: 100 },
    ],
    metAtMs: new Map([
      [met, 50],
      [metLate, 150],
      [revoked, 50],
    ]),
    revoked: new Set([revoked]),
  }
  keys.set(state)
  const cases: [string, SwarmKey, Admission][] = [
    [met, next, 'member'],
    ['d'.repeat(64), next, 'member'],
    [revoked, next, 'refused'],
    [met, old, 'member'],
    [metLate, old, 'member'],
    ['d'.repeat(64), old, 'refused'],
    [revoked, old, 'refused'],
    [met, older, 'outdated'],
    [metLate, older, 'refused'],
    [met, other, 'refused'],
  ]
  for (const [nodeId, key, admission] of cases)
    assert.equal(keys.admissionOf(nodeId, key), admission)
  assert.deepEqual(keys.opening, [next])
  keys.set({ ...state, accepted: [next] })
  assert.equal(keys.admissionOf(met, old), 'outdated')
})

test('vouches with the key that somebody has shown, unless that has ended', () => {
  const keys = new SwarmKeys(old)
  const [state, endedAtMs] = [{ metAtMs: new Map(), revoked: new Set<string>() }, 1]
  keys.set({ ...state, current: next, accepted: [next, old], former: [] })
  assert.equal(keys.vouchingFor(Buffer.from(old) as SwarmKey), old)
  keys.set({ ...state, current: next, accepted: [next], former: [{ key: old, endedAtMs }] })
  assert.equal(keys.vouchingFor(old), next)
})

test('makes something of a key once', () => {
  const made: SwarmKey[] = []
  const perKey = new PerSwarmKey((key) => ({ index: made.push(key) }))
  assert.equal(perKey.of(old), perKey.of(old))
  assert.notEqual(perKey.of(old), perKey.of(next))
  assert.deepEqual(made, [old, next])
})

function newKey(): SwarmKey {
  return randomBytes(32) as SwarmKey
}
