import assert from 'node:assert/strict'
import { test } from 'node:test'

import { BufferPool } from './buffer-pool.ts'

test('gives a buffer out again by its length, and keeps no more than it may', () => {
  const pool = new BufferPool({ maxBytes: 150 })
  const [first, second] = [pool.take(100), pool.take(100)]
  assert.notEqual(first, second)
  pool.give(first)
  pool.give(second)
  assert.notEqual(pool.take(50), first)
  assert.equal(pool.take(100), first)
  assert.notEqual(pool.take(100), second)
})

test('the length that was not used for longest makes room, and only it', () => {
  const pool = new BufferPool({ maxBytes: 300 })
  const [old, small] = [pool.take(200), pool.take(50)]
  for (const buffer of [old, small, pool.take(50)]) pool.give(buffer)
  // 300 lie idle; 50 was taken last
  const large = pool.take(100)
  pool.give(large)
  assert.equal(pool.take(100), large)
  assert.notEqual(pool.take(50), pool.take(50))
  assert.notEqual(pool.take(200), old)
})

test('a length that takes all the room does not drop its own', () => {
  const pool = new BufferPool({ maxBytes: 100 })
  const [first, second] = [pool.take(100), pool.take(100)]
  pool.give(first)
  pool.give(second)
  assert.equal(pool.take(100), first)
})
