import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'

import { SeededRandom } from '../testing/seeded-random.ts'
import { PieceDigester } from './piece-digester.ts'

function hashPieces(content: Buffer, pieceLength: number): Buffer {
  const hashes: Buffer[] = []
  for (let start = 0; start < content.length; start += pieceLength) {
    const piece = content.subarray(start, start + pieceLength)
    hashes.push(createHash('sha1').update(piece).digest())
  }
  return Buffer.concat(hashes)
}

for (const size of [0, 1, 999, 1000, 1001, 5000, 5001]) {
  test(`hashes every piece of ${size} bytes, however they are cut into chunks`, () => {
    const random = new SeededRandom(size)
    const content = random.bytes(size)
    const digester = new PieceDigester(1000)
    for (let start = 0; start < size;) {
      const end = start + 1 + random.below(2500)
      digester.update(content.subarray(start, end))
      start = end
    }
    assert.deepEqual(digester.digest(), hashPieces(content, 1000))
  })
}

test('refuses a piece length that is none', () => {
  assert.throws(() => new PieceDigester(0), TypeError)
})
