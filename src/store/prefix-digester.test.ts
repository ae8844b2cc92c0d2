import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'

import { digestOf } from '../oci/digest.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { PrefixDigester } from './prefix-digester.ts'

const PIECE_LENGTH = 1000

/** A blob in memory that counts what is read back of it. */
function growingBlob(size: number) {
  const content = new SeededRandom(size).bytes(size)
  const pieces = new Set<number>()
  const blob = {
    size,
    pieceLength: PIECE_LENGTH,
    bytesRead: 0,
    failure: undefined as Error | undefined,
    hasPiece: (index: number) => pieces.has(index),
    readInto: async (buffer: Uint8Array, offset: number) => {
      await Promise.resolve()
      if (blob.failure) throw blob.failure
      assert.ok(pieces.has(Math.floor(offset / PIECE_LENGTH)), 'reads only pieces that are there')
      content.copy(buffer, 0, offset, offset + buffer.length)
      blob.bytesRead += buffer.length
    },
  }
  const digester = new PrefixDigester(blob)
  const add = (index: number) => {
    pieces.add(index)
    const start = index * PIECE_LENGTH
    digester.onPiece(index, content.subarray(start, Math.min(size, start + PIECE_LENGTH)))
  }
  return { blob, content, digester, add, pieces }
}

test('hashes pieces that come in order from memory alone', async () => {
  const { blob, content, digester, add } = growingBlob(9500)
  for (let index = 0; index < 10; index += 1) add(index)
  assert.equal(await digester.finish(), digestOf(content))
  assert.equal(blob.bytesRead, 0)
})

test('gives the digest of the whole for any order of pieces', async () => {
  const random = new SeededRandom(7)
  for (let round = 0; round < 50; round += 1) {
    const { content, digester, add } = growingBlob(1 + random.below(20_000))
    for (const index of random.shuffled(Array(Math.ceil(content.length / PIECE_LENGTH)).keys())) {
      add(index)
      if (random.below(2) === 0) await Promise.resolve()
    }
    assert.equal(await digester.finish(), digestOf(content))
  }
})

test('begins with the pieces that are there already', async () => {
  const { content, digester, pieces, add } = growingBlob(3000)
  pieces.add(0).add(1)
  digester.catchUp()
  add(2)
  assert.equal(await digester.finish(), digestOf(content))
})

test('knows the digest of an empty blob', async () => {
  assert.equal(await growingBlob(0).digester.finish(), digestOf(''))
})

test('tells at the end that reading failed, and goes on from there when asked again', async () => {
  const { blob, content, digester, add } = growingBlob(3000)
  blob.failure = new Error('disk')
  add(1)
  add(2)
  add(0)
  await assert.rejects(digester.finish(), /disk/)
  blob.failure = undefined
  assert.equal(await digester.finish(), digestOf(content))
  assert.equal(await digester.finish(), digestOf(content))
})

test('gives no digest while a piece is missing', async () => {
  const { digester, add } = growingBlob(3000)
  add(0)
  await assert.rejects(digester.finish(), TypeError)
})

test('catches up while pieces come, not only at the end', async () => {
  const { blob, digester, add } = growingBlob(3000)
  add(1)
  add(2)
  add(0)
  for (let turns = 0; turns < 100 && blob.bytesRead < 2000; turns += 1) await setImmediate()
  assert.equal(blob.bytesRead, 2000)
  await digester.finish()
})

test('reads nothing after its stop', async () => {
  const { blob, digester, add, pieces } = growingBlob(10_000)
  for (let index = 1; index < 10; index += 1) pieces.add(index)
  add(0)
  await digester.stop()
  assert.ok(blob.bytesRead <= 1000)
})
