import assert from 'node:assert/strict'
import { test } from 'node:test'

import { BufferLender, hold, release } from './buffer-lender.ts'

const BYTES = 1024

test('a buffer is lent again when its last user has released it', () => {
  const lender = new BufferLender({ maxBytes: BYTES })
  const first = lender.lend(BYTES)
  hold(first.subarray(10, 20))
  release(first)
  assert.notEqual(lender.lend(BYTES).buffer, first.buffer)
  release(first.subarray(10, 20))
  assert.equal(lender.lend(BYTES).buffer, first.buffer)
})

test('one release too many does not lend a buffer twice', () => {
  const lender = new BufferLender({ maxBytes: 4 * BYTES })
  const first = lender.lend(BYTES)
  release(first)
  release(first)
  const [second, third] = [lender.lend(BYTES), lender.lend(BYTES)]
  assert.equal(second.buffer, first.buffer)
  assert.notEqual(third.buffer, first.buffer)
})

test('no more than its bound lies idle', () => {
  const lender = new BufferLender({ maxBytes: BYTES })
  const lent = [lender.lend(BYTES), lender.lend(BYTES)]
  lent.forEach(release)
  const again = [lender.lend(BYTES), lender.lend(BYTES)]
  const isKnown = again.filter(({ buffer }) => lent.some((old) => old.buffer === buffer))
  assert.equal(isKnown.length, 1)
})

test('a buffer that was not lent is nobody elses', () => {
  const own = Buffer.alloc(BYTES)
  hold(own)
  release(own)
  release(own)
  assert.notEqual(new BufferLender({ maxBytes: BYTES }).lend(BYTES).buffer, own.buffer)
})
