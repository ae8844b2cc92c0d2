import assert from 'node:assert/strict'
import { test } from 'node:test'

import { fluidSeconds, pieceSeconds, starSeconds, type Crowd } from './bounds.ts'

const equal = (nodes: number, rate = 10): Crowd => ({
  bytes: 100,
  seedUp: rate,
  up: Array.from({ length: nodes }, () => rate),
  down: Array.from({ length: nodes }, () => rate),
})

test('with equal links the fluid bound is one transfer, whatever the number of nodes', () => {
  for (const nodes of [1, 2, 8, 500]) assert.equal(fluidSeconds(equal(nodes)), 10)
})

test('the fluid bound follows the thinnest of seed, node and all uplinks together', () => {
  assert.equal(fluidSeconds({ ...equal(4), seedUp: 2 }), 50)
  assert.equal(fluidSeconds({ ...equal(4), down: [10, 10, 4, 10] }), 25)
  assert.equal(fluidSeconds({ ...equal(4), up: [0, 0, 0, 0] }), 40)
})

test('the piece bound adds the doubling of the last piece', () => {
  const bound = (nodes: number, pieces: number) =>
    pieceSeconds({ bytes: 100, rate: 10, nodes, pieces })
  assert.equal(bound(1, 4), 10)
  assert.equal(bound(8, 256), 10 * (1 + 3 / 256))
  assert.equal(bound(15, 256), bound(8, 256))
  assert.equal(bound(16, 64), 10 * (1 + 4 / 64))
})

test('one piece to three nodes takes two rounds', () => {
  // Round one: the seed to A. Round two: the seed to B, A to C.
  assert.equal(pieceSeconds({ bytes: 100, rate: 10, nodes: 3, pieces: 1 }), 20)
})

test('without peers the seed sends the whole to every node', () => {
  assert.equal(starSeconds(equal(8)), 80)
  assert.equal(starSeconds({ ...equal(2), seedUp: 1000 }), 10)
})
