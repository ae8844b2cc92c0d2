import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { BlobTransfer } from './blob-transfer.ts'
import type { ReadablePieces } from './readable-pieces.ts'
import { SharedReads } from './shared-reads.ts'

const SIGNAL = AbortSignal.timeout(10_000)
const PIECE_BYTES = 256 * 1024
// with one more reader they are a crowd
const FEW = 32

test('a reader in a crowd stays one of it while it reads the rest from the store', async () => {
  const reads = new SharedReads()
  for (let other = 0; other < FEW; other += 1) reads.enter()
  const bytes = Buffer.alloc(3 * PIECE_BYTES, 'a')
  const transfer = new BlobTransfer({
    digest: digestOf(bytes),
    images: [],
    size: bytes.length,
    reads,
  })
  transfer.onMoving(piecesOf(bytes))
  async function* readStored(rest: { start: number; end: number }): AsyncGenerator<Buffer> {
    assert.equal(reads.isCrowded, true)
    yield bytes.subarray(rest.start, rest.end + 1)
  }
  let found = 0
  const range = { start: 0, end: bytes.length - 1 }
  for await (const chunk of transfer.read(range, { readStored, signal: SIGNAL })) {
    found += chunk.length
    transfer.onProven()
    transfer.onDone()
  }
  assert.equal(found, bytes.length)
})

test('what is in memory goes out as it is, and nothing is read for it', async () => {
  const bytes = Buffer.alloc(3 * PIECE_BYTES, 'a')
  const transfer = new BlobTransfer({ digest: digestOf(bytes), images: [], size: bytes.length })
  transfer.onMoving({
    ...piecesOf(bytes),
    kept: (offset, length) => bytes.subarray(offset, offset + length),
    readInto: () => Promise.reject(new Error('read')),
  })
  transfer.onProven()
  const readStored = () => assert.fail('the store was asked')
  let found = 0
  const range = { start: 10, end: bytes.length - 10 }
  for await (const chunk of transfer.read(range, { readStored, signal: SIGNAL })) {
    assert.equal(chunk.buffer, bytes.buffer)
    found += chunk.length
  }
  assert.equal(found, bytes.length - 19)
})

function piecesOf(bytes: Buffer): ReadablePieces {
  return {
    size: bytes.length,
    pieceLength: PIECE_BYTES,
    pieceCount: Math.ceil(bytes.length / PIECE_BYTES),
    hasPiece: () => true,
    readInto: async (into, offset) => into.set(bytes.subarray(offset, offset + into.length)),
  }
}
