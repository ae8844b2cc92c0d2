import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { storePaths } from './paths.ts'

const PIECE_LENGTH = 64 * 1024
const PIECE_COUNT = 16
const content = new SeededRandom(5).bytes(PIECE_COUNT * PIECE_LENGTH)
const digest = digestOf(content)
const shape = { digest, size: content.length, pieceLength: PIECE_LENGTH }
const pieceAt = (index: number) =>
  content.subarray(index * PIECE_LENGTH, (index + 1) * PIECE_LENGTH)
const pieceHash = (index: number) => createHash('sha1').update(pieceAt(index)).digest()

test('takes up pieces that came after the last checkpoint before a kill, if they prove right', async () => {
  await using dir = await tempDir()
  await using store = await DiskBlobStore.open({ dataDir: join(dir.path, 'killed') })
  await using partial = await store.openPartial(shape)
  await partial.writePiece(3, pieceAt(3))
  await partial.checkpoint()
  await partial.writePiece(9, pieceAt(9))
  await partial.writePiece(11, Buffer.alloc(PIECE_LENGTH, 7))
  await partial.writePiece(14, pieceAt(14))

  // what a kill leaves: the files as they are, while nobody closes the blob in order
  const [killed, next] = ['killed', 'next'].map((name) => storePaths(join(dir.path, name)))
  assert.ok(killed && next)
  await mkdir(next.partial, { recursive: true })
  await copyFile(killed.partialOf(digest), next.partialOf(digest))
  await copyFile(killed.bitfieldOf(digest), next.bitfieldOf(digest))

  await using reopened = await DiskBlobStore.open({ dataDir: join(dir.path, 'next') })
  await using resumed = await reopened.openPartial({ ...shape, pieceHash })
  const held = [...Array(PIECE_COUNT).keys()].filter((index) => resumed.hasPiece(index))
  assert.deepEqual(held, [3, 9, 14])
})
