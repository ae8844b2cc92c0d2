import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { PieceFile } from './piece-file.ts'

const PIECE_LENGTH = 1000
const content = new SeededRandom(7).bytes(3500)
const digest = digestOf(content)
const shape = { digest, size: content.length, pieceLength: PIECE_LENGTH }
const pieceAt = (index: number) =>
  content.subarray(index * PIECE_LENGTH, (index + 1) * PIECE_LENGTH)

async function open() {
  const dir = await tempDir()
  const store = await DiskBlobStore.open({ dataDir: dir.path })
  const partial = await store.openPartial(shape)
  return {
    store,
    partial,
    async [Symbol.asyncDispose]() {
      await partial[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

test('pieces that another one wrote into the file of a partial blob make it complete, in any order', async () => {
  await using opened = await open()
  const { store, partial } = opened
  await partial.writePiece(2, pieceAt(2))
  await using file = await PieceFile.open(partial.path, { ...shape, bitfield: partial.bitfield })
  assert.deepEqual([file.pieceCount, file.hasPiece(2), file.hasPiece(0)], [4, true, false])
  for (const index of [3, 0, 1]) {
    await file.writePiece(index, pieceAt(index))
    assert.equal(partial.hasPiece(index), false)
    partial.adoptPiece(index)
    assert.equal(partial.hasPiece(index), true)
  }
  await partial.commit()
  partial.adoptPiece(0)
  assert.equal(await store.has(digest), true)
  assert.deepEqual(await file.read(0, 10), Buffer.from(content.subarray(0, 10)))
})

test('what is said to be there and is not, is found out before the blob counts', async () => {
  await using opened = await open()
  const { store, partial } = opened
  for (const index of [0, 1, 2, 3]) partial.adoptPiece(index)
  await assert.rejects(partial.commit(), { code: 'BLOB_DIGEST_MISMATCH' })
  assert.equal(await store.has(digest), false)
})

test('a piece that the blob does not have cannot be adopted', async () => {
  await using opened = await open()
  for (const index of [4, -1, 0.5, Number.NaN])
    assert.throws(() => opened.partial.adoptPiece(index), TypeError)
})

test('a piece that came from elsewhere stays as it is', async () => {
  await using opened = await open()
  const { partial } = opened
  await using file = await PieceFile.open(partial.path, { ...shape, bitfield: partial.bitfield })
  await partial.writePiece(0, pieceAt(0))
  file.onForeignPiece(0)
  await file.writePiece(0, pieceAt(1))
  assert.deepEqual(await file.read(0, PIECE_LENGTH), Buffer.from(pieceAt(0)))
})
