import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { BadPieces } from './bad-pieces.ts'
import { BLOCK_BYTES } from './piece-length.ts'

const right = randomBytes(4 * BLOCK_BYTES + 100)

test('who alone sent a piece that failed is the culprit at once', () => {
  const bad = new BadPieces<string>()
  assert.equal(bad.onBad(3, spoiled(1), ['liar', 'liar', 'liar', 'liar', 'liar']), 'liar')
  assert.deepEqual([bad.hasFailed(3), bad.hasFailed(4)], [true, false])
  assert.deepEqual(bad.onGood(3, right), new Set())
})

test('of several senders only those of other blocks are to blame, once the piece is right', () => {
  const bad = new BadPieces<string>()
  const senders = ['honest', 'liar', 'honest', 'other', 'other']
  assert.equal(bad.onBad(0, spoiled(1), senders), undefined)
  assert.equal(bad.onBad(0, spoiled(4), ['liar', 'honest', 'honest', 'honest', 'late']), undefined)
  assert.deepEqual(bad.onGood(1, right), new Set())
  assert.deepEqual(bad.onGood(0, right), new Set(['late', 'liar']))
  assert.deepEqual(bad.onGood(0, right), new Set())
})

test('there is an end to what is remembered', () => {
  const bad = new BadPieces<string>()
  for (let index = 0; index < 100; index += 1)
    bad.onBad(index, spoiled(0), ['liar', 'honest', 'honest', 'honest', 'honest'])
  const blamed = Array.from({ length: 100 }, (_, index) => bad.onGood(index, right).size)
  assert.equal(blamed.filter((count) => count === 1).length, 64)
  assert.deepEqual(
    blamed.slice(0, 36),
    Array.from({ length: 36 }, () => 0),
  )
})

function spoiled(block: number): Buffer {
  const bytes = Buffer.from(right)
  const at = block * BLOCK_BYTES + 50
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes
}
