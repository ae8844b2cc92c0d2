import assert from 'node:assert/strict'
import { test } from 'node:test'

import { ExpiringMap } from './expiring-map.ts'

test('entries expire', () => {
  let nowMs = 0
  const map = new ExpiringMap<string>({ maxEntries: 10, nowMs: () => nowMs })
  map.set('a', 'one', 1000)
  map.set('b', 'two', Infinity)
  nowMs = 999
  assert.equal(map.get('a'), 'one')
  nowMs = 1000
  assert.equal(map.get('a'), undefined)
  assert.equal(map.get('b'), 'two')
})

test('the entry that was not asked for longest gives way', () => {
  const map = new ExpiringMap<number>({ maxEntries: 2, nowMs: () => 0 })
  map.set('a', 1, 1000)
  map.set('b', 2, 1000)
  assert.equal(map.get('a'), 1)
  map.set('c', 3, 1000)
  assert.deepEqual([map.get('a'), map.get('b'), map.get('c')], [1, undefined, 3])
})
