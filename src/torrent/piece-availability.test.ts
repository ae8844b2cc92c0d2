import assert from 'node:assert/strict'
import { test } from 'node:test'

import { PieceAvailability } from './piece-availability.ts'

const having = (...pieces: number[]) => ({
  peerPieces: { get: (index: number) => pieces.includes(index) },
})
const all = (availability: PieceAvailability) => [0, 1, 2].map((index) => availability.of(index))

test('each peer counts once for a piece, however often it says that it has it', () => {
  const availability = new PieceAvailability(3)
  const [first, second] = [having(0, 1), having(1)]
  for (let times = 0; times < 70_000; times += 1) availability.onBitfield(first)
  availability.onBitfield(second)
  for (let times = 0; times < 3; times += 1) availability.onHave(second, 2)
  for (const nowhere of [-1, 3, 2 ** 32]) availability.onHave(second, nowhere)
  assert.deepEqual(all(availability), [1, 2, 1])
})

test('who is gone takes away what it was counted for, and nothing else', () => {
  const availability = new PieceAvailability(3)
  const [first, second] = [having(0, 1, 2), having(1)]
  availability.onHave(first, 0)
  availability.onBitfield(second)
  availability.onGone(first)
  availability.onGone(having(1))
  assert.deepEqual(all(availability), [0, 1, 0])
})
