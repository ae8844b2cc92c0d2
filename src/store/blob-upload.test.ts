import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { PieceDigester } from './piece-digester.ts'

const PIECE = 4096
/** Pieces of 4 KiB up to 64 KiB, longer ones above. */
const pieceLengthOf = (size: number) => (size <= 16 * PIECE ? PIECE : 2 * PIECE)

async function openStore() {
  const dir = await tempDir()
  const store = await DiskBlobStore.open({ dataDir: dir.path })
  return {
    store,
    left: () => readdir(join(dir.path, 'tmp')),
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

function piecesOf(bytes: Buffer): Buffer {
  const digester = new PieceDigester(PIECE)
  digester.update(bytes)
  return digester.digest()
}

test('keeps a blob that came in parts, with its pieces', async () => {
  await using open = await openStore()
  await using upload = await open.store.openUpload({ pieceLengthOf })
  const bytes = randomBytes(50_000)
  for (const [start, end] of [
    [0, 10],
    [10, 30_000],
    [30_000, 30_000],
    [30_000, 50_000],
  ] as const) {
    await upload.append(one(bytes.subarray(start, end)))
    assert.equal(upload.size, end)
  }
  assert.equal(await upload.sha512(), createHash('sha512').update(bytes).digest('hex'))
  const prepared = await upload.prepare({ digest: digestOf(bytes) })
  assert.ok(!(await open.store.has(prepared.digest)))
  const kept = await upload.commit(prepared)
  assert.deepEqual(kept, {
    digest: digestOf(bytes),
    size: 50_000,
    isNew: true,
    pieceHashes: piecesOf(bytes),
  })
  assert.ok((await buffer(await open.store.open(kept.digest))).equals(bytes))
  assert.deepEqual(await open.left(), [])
})

test('leaves the pieces out where they turn out to be longer', async () => {
  await using open = await openStore()
  await using upload = await open.store.openUpload({ pieceLengthOf })
  await upload.append(one(randomBytes(16 * PIECE + 1)))
  const kept = await upload.commit(await upload.prepare())
  assert.equal(kept.pieceHashes, undefined)
})

test('keeps an empty blob', async () => {
  await using open = await openStore()
  await using upload = await open.store.openUpload({ pieceLengthOf })
  const { digest, size } = await upload.commit(await upload.prepare())
  assert.deepEqual({ digest, size }, { digest: digestOf(''), size: 0 })
  assert.ok(await open.store.has(digest))
})

test('goes on behind what came before a source failed', async () => {
  await using open = await openStore()
  await using upload = await open.store.openUpload({ pieceLengthOf })
  const failing = async function* () {
    yield Buffer.from('abc')
    throw new Error('cut')
  }
  await assert.rejects(upload.append(failing()), /cut/)
  assert.equal(upload.size, 3)
  await upload.append(one(Buffer.from('def')))
  await upload.commit(await upload.prepare({ digest: digestOf('abcdef') }))
})

test('stops at its bound, and when its signal fires', async () => {
  await using open = await openStore()
  await using upload = await open.store.openUpload({ pieceLengthOf })
  await upload.append(one(Buffer.alloc(6)), { maxBytes: 10 })
  await assert.rejects(upload.append(one(Buffer.alloc(5)), { maxBytes: 10 }), (error) =>
    isOperationError(error, 'BLOB_SIZE_MISMATCH'),
  )
  const stop = new AbortController()
  const never = async function* () {
    yield Buffer.alloc(1)
    stop.abort(new Error('stopped'))
    await Promise.withResolvers().promise
  }
  await assert.rejects(upload.append(never(), { signal: stop.signal }), /stopped/)
})

test('leaves nothing of a blob with a wrong digest, nor of one that is given up', async () => {
  await using open = await openStore()
  {
    await using upload = await open.store.openUpload({ pieceLengthOf })
    await upload.append(one(Buffer.from('abc')))
    await assert.rejects(upload.prepare({ digest: digestOf('x') }), (error) =>
      isOperationError(error, 'BLOB_DIGEST_MISMATCH'),
    )
    await assert.rejects(upload.append(one(Buffer.from('d'))), TypeError)
  }
  assert.deepEqual(await open.left(), [])
  const upload = await open.store.openUpload({ pieceLengthOf })
  await upload.append(one(Buffer.from('abc')))
  assert.equal((await open.left()).length, 1)
  await open.store[Symbol.asyncDispose]()
  assert.deepEqual(await open.left(), [])
  await assert.rejects(open.store.openUpload({ pieceLengthOf }))
})

test('takes one blob from several uploads at once', async () => {
  await using open = await openStore()
  const bytes = randomBytes(20_000)
  const kept = await Promise.all(
    Array.from({ length: 4 }, async () => {
      await using upload = await open.store.openUpload({ pieceLengthOf })
      await upload.append(one(bytes))
      return await upload.commit(await upload.prepare())
    }),
  )
  assert.equal(kept.filter(({ isNew }) => isNew).length, 1)
  assert.deepEqual(await open.left(), [])
})

async function* one(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
