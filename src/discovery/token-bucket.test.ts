import assert from 'node:assert/strict'
import { test } from 'node:test'

import { SourceLimit } from './source-limit.ts'
import { TokenBucket } from './token-bucket.ts'

test('lets a burst through at once, and then so many a second', () => {
  const bucket = new TokenBucket({ perSecond: 2, burst: 3 }, 0)
  assert.deepEqual(
    [0, 0, 0, 0].map((nowMs) => bucket.take(nowMs)),
    [true, true, true, false],
  )
  assert.equal(bucket.waitMs(0), 500)
  assert.equal(bucket.take(499), false)
  assert.equal(bucket.take(500), true)
  assert.equal(bucket.take(500), false)
})

test('saves up no more than a burst, and survives a clock that goes back', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 2 }, 1000)
  assert.equal(bucket.waitMs(500), 0)
  assert.deepEqual(
    [60_000, 60_000, 60_000].map((nowMs) => bucket.take(nowMs)),
    [true, true, false],
  )
})

test('limits each source, and all of them together', () => {
  const perSource = { perSecond: 1, burst: 2 }
  const limit = new SourceLimit({ perSource, all: { perSecond: 1, burst: 3 } }, 0)
  const taken = ['a', 'a', 'a', 'b', 'c'].map((source) => limit.take(source, 0))
  assert.deepEqual(taken, [true, true, false, true, false])
})
