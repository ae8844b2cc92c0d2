import assert from 'node:assert/strict'
import { test } from 'node:test'

import { median, percentile } from './statistics.ts'

test('the median does not depend on the order', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([10, 2, 4, 1]), 3)
  assert.equal(median([7]), 7)
  assert.throws(() => median([]), RangeError)
})

test('a percentile is one of the values', () => {
  const values = Array.from({ length: 40 }, (_, index) => 40 - index)
  assert.equal(percentile(values, 0.5), 20)
  assert.equal(percentile(values, 0.99), 40)
  assert.equal(percentile(values, 0), 1)
  assert.throws(() => percentile([], 0.5), RangeError)
})
