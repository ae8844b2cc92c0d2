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
