import assert from 'node:assert/strict'
import { test } from 'node:test'

import { orderedSeconds, sharedSeconds, type LayerCost } from './layer-order-bounds.ts'

const equal = (count: number, extractSeconds: number): LayerCost[] =>
  Array.from({ length: count }, () => ({ downloadSeconds: 1, extractSeconds }))

test('four equal layers cost what the closed formulas say', () => {
  for (const r of [0.33, 0.5, 0.75, 1, 2, 5]) {
    assert.ok(Math.abs(orderedSeconds(equal(4, r)) - Math.max(1 + 4 * r, 4 + r)) < 1e-6)
    assert.ok(Math.abs(sharedSeconds(equal(4, r)) - (Math.max(3 + 3 * r, 4) + r)) < 1e-6)
  }
})

test('a single layer costs the same in any order', () => {
  assert.equal(orderedSeconds(equal(1, 2)), 3)
  assert.equal(sharedSeconds(equal(1, 2)), 3)
})

test('a fourth layer begins when one of the first three is here', () => {
  const layers = [3, 1, 1, 1].map((downloadSeconds) => ({ downloadSeconds, extractSeconds: 0 }))
  // three share until 3 s; the rest of the first, 2 s, and the fourth share until 5 s
  assert.equal(sharedSeconds(layers), 6)
})
