import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { open, readdir, stat, truncate, watch, writeFile } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

import { isOperationError, type ErrorCode } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { silentLog } from '../telemetry/log.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { tempDir } from '../testing/temp-dir.ts'
import type { PartialBlob } from './blob-store.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { DiskPartialBlob } from './partial-blob.ts'
import { storePaths } from './paths.ts'

const PIECE_LENGTH = 100_000
const content = new SeededRandom(2).bytes(1_050_000)
const digest = digestOf(content)
const shape = { digest, size: content.length, pieceLength: PIECE_LENGTH }
const pieceIndexes = [...Array(11).keys()]

function pieceAt(index: number): Buffer {
  return content.subarray(index * PIECE_LENGTH, (index + 1) * PIECE_LENGTH)
}

function pieceHash(index: number): Buffer {
  return createHash('sha1').update(pieceAt(index)).digest()
}

async function writePieces(partial: PartialBlob, indexes: Iterable<number>): Promise<void> {
  for (const index of indexes) await partial.writePiece(index, pieceAt(index))
}

function heldBy(partial: PartialBlob): number[] {
  return pieceIndexes.filter((index) => partial.hasPiece(index))
}

/** An empty store in a directory of its own. */
async function openStore() {
  const dir = await tempDir()
  const opened = [await DiskBlobStore.open({ dataDir: dir.path })]
  return {
    store: opened[0] as DiskBlobStore,
    paths: storePaths(dir.path),
    async reopen() {
      const store = await DiskBlobStore.open({ dataDir: dir.path })
      opened.push(store)
      return store
    },
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** By digest: the difference of two blobs takes minutes to print. */
function assertSameBytes(found: Buffer, wanted: Buffer, what?: string): void {
  assert.equal(digestOf(found), digestOf(wanted), what)
}

function hasCode(code: ErrorCode) {
  return (error: unknown) => isOperationError(error, code)
}

test('becomes a complete blob when all pieces are there, in any order', async () => {
  await using setup = await openStore()
  const { store, paths } = setup
  await using partial = await store.openPartial(shape)
  await writePieces(partial, new SeededRandom(3).shuffled(pieceIndexes))
  assert.equal(await store.has(digest), false)
  await partial.commit()
  assertSameBytes(await buffer(await store.open(digest)), content)
  assert.equal((await stat(paths.blobOf(digest))).mode & 0o777, 0o444)
  assert.deepEqual(await readdir(paths.partial), [])
})

test('reads what is there, before and after it is complete', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await writePieces(partial, [3])
  assertSameBytes(await partial.read(3 * PIECE_LENGTH + 5, 16_384), pieceAt(3).subarray(5, 16_389))
  await writePieces(partial, pieceIndexes)
  await partial.commit()
  assertSameBytes(await partial.read(0, content.length), content)
})

test('shows its pieces in a bitfield that is alive', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  const { bitfield } = partial
  assert.deepEqual([partial.pieceCount, bitfield.length], [11, 2])
  await writePieces(partial, [0, 9])
  assert.deepEqual(Buffer.from(bitfield), Buffer.from([0b1000_0000, 0b0100_0000]))
  assert.deepEqual(heldBy(partial), [0, 9])
})

test('takes up space only for the pieces that are there', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial({ ...shape, size: 1 << 30 })
  await partial.writePiece(5000, pieceAt(0))
  const { size, blocks } = await stat(setup.paths.partialOf(digest))
  assert.equal(size, 1 << 30)
  assert.ok(blocks * 512 < 1 << 20)
})

test('refuses a piece of another length than its own', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await assert.rejects(partial.writePiece(0, pieceAt(10)), hasCode('BLOB_SIZE_MISMATCH'))
  await assert.rejects(partial.writePiece(10, pieceAt(0)), hasCode('BLOB_SIZE_MISMATCH'))
  await assert.rejects(partial.writePiece(11, pieceAt(0)), TypeError)
  assert.deepEqual(heldBy(partial), [])
})

test('keeps the first bytes of a piece that comes twice', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  const other = Buffer.alloc(PIECE_LENGTH, 1)
  await Promise.all([partial.writePiece(0, pieceAt(0)), partial.writePiece(0, other)])
  assertSameBytes(await partial.read(0, PIECE_LENGTH), pieceAt(0))
  await partial.writePiece(0, other)
  assertSameBytes(await partial.read(0, PIECE_LENGTH), pieceAt(0))
})

test('throws away what has another digest, and says so', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await writePieces(partial, pieceIndexes.slice(1))
  await partial.writePiece(0, Buffer.alloc(PIECE_LENGTH))
  await assert.rejects(partial.commit(), hasCode('BLOB_DIGEST_MISMATCH'))
  assert.deepEqual(await readdir(setup.paths.partial), [])
  assert.equal(await setup.store.has(digest), false)
  await using again = await setup.store.openPartial(shape)
  assert.deepEqual(heldBy(again), [])
})

test('proves its digest before it is durable, for those who wait for the last bytes', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await assert.rejects(partial.prove(), TypeError)
  await writePieces(partial, pieceIndexes)
  await Promise.all([partial.prove(), partial.prove()])
  assert.equal(await setup.store.has(digest), false)
  await partial.commit()
  await partial.prove()
})

test('throws away what it proves to have another digest', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await writePieces(partial, pieceIndexes.slice(1))
  await partial.writePiece(0, Buffer.alloc(PIECE_LENGTH))
  await assert.rejects(partial.prove(), hasCode('BLOB_DIGEST_MISMATCH'))
  assert.deepEqual(await readdir(setup.paths.partial), [])
  await assert.rejects(partial.commit(), hasCode('BLOB_DIGEST_MISMATCH'))
})

test('does not commit while a piece is missing', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await writePieces(partial, pieceIndexes.slice(1))
  await assert.rejects(partial.commit(), TypeError)
  await writePieces(partial, [0])
  await partial.commit()
  assert.equal(await setup.store.has(digest), true)
})

test('commits an empty blob', async () => {
  await using setup = await openStore()
  const empty = digestOf('')
  await using partial = await setup.store.openPartial({ ...shape, digest: empty, size: 0 })
  await partial.commit()
  assert.equal(await setup.store.has(empty), true)
})

test('commits beside a blob that came another way meanwhile', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await writePieces(partial, pieceIndexes)
  async function* source() {
    yield content
  }
  await setup.store.ingest(source())
  await partial.commit()
  assertSameBytes(await partial.read(0, content.length), content)
  assert.deepEqual(await readdir(setup.paths.partial), [])
})

test('takes late pieces, checkpoints, commits and discards after its commit for nothing', async () => {
  await using setup = await openStore()
  await using partial = await setup.store.openPartial(shape)
  await writePieces(partial, pieceIndexes)
  await Promise.all([partial.commit(), partial.commit()])
  await partial.writePiece(0, pieceAt(0))
  await partial.checkpoint()
  await partial.discard()
  assert.equal(await setup.store.has(digest), true)
})

test('goes on after a restart with the pieces of its last checkpoint', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await writePieces(partial, [0, 1, 5])
  await partial.checkpoint()
  await writePieces(partial, [7])
  // not disposed: the process ends here
  const again = await setup.reopen()
  assert.deepEqual(await Array.fromAsync(again.listPartials()), [digest])
  await using resumed = await again.openPartial(shape)
  assert.deepEqual(heldBy(resumed), [0, 1, 5])
  await writePieces(resumed, pieceIndexes)
  await resumed.commit()
  assertSameBytes(await buffer(await again.open(digest)), content)
})

test('keeps all its pieces when it is closed in order', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await writePieces(partial, [2, 10])
  await setup.store[Symbol.asyncDispose]()
  await using resumed = await (await setup.reopen()).openPartial(shape)
  assert.deepEqual(heldBy(resumed), [2, 10])
})

test('leaves nothing behind when it is closed without a piece', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await partial[Symbol.asyncDispose]()
  await partial[Symbol.asyncDispose]()
  assert.deepEqual(await readdir(setup.paths.partial), [])
})

test('makes its pieces durable by itself after 16 MiB', async () => {
  await using setup = await openStore()
  const large = { digest, size: 64 << 20, pieceLength: 4 << 20 }
  await using partial = await setup.store.openPartial(large)
  const piece = Buffer.alloc(4 << 20)
  const files = watch(setup.paths.partial, { signal: AbortSignal.timeout(10_000) })
  const isSaved = (async () => {
    for await (const { filename } of files) if (filename?.endsWith('.bitfield')) return
  })()
  for (let index = 0; index < 5; index += 1) await partial.writePiece(index, piece)
  await isSaved
})

test('drops pieces of which a crash left other bytes', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await writePieces(partial, [0, 4, 10])
  await partial[Symbol.asyncDispose]()
  const file = await open(setup.paths.partialOf(digest), 'r+')
  await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, 4 * PIECE_LENGTH + 50)
  await file.close()
  await using resumed = await setup.store.openPartial({ ...shape, pieceHash })
  assert.deepEqual(heldBy(resumed), [0, 10])
  await writePieces(resumed, pieceIndexes)
  await resumed.commit()
})

const UNFIT: Record<string, (paths: ReturnType<typeof storePaths>) => Promise<void>> = {
  'its bitfield is damaged': (paths) => writeFile(paths.bitfieldOf(digest), 'garbage'),
  'its file has another length': (paths) => truncate(paths.partialOf(digest), 5),
}
for (const [what, damage] of Object.entries(UNFIT)) {
  test(`begins anew when ${what}`, async () => {
    await using setup = await openStore()
    const partial = await setup.store.openPartial(shape)
    await writePieces(partial, [0, 4])
    await partial[Symbol.asyncDispose]()
    await damage(setup.paths)
    await using fresh = await setup.store.openPartial(shape)
    assert.deepEqual(heldBy(fresh), [])
    await writePieces(fresh, pieceIndexes)
    await fresh.commit()
  })
}

test('begins anew with another piece length', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await writePieces(partial, [0])
  await partial[Symbol.asyncDispose]()
  await using other = await setup.store.openPartial({ ...shape, pieceLength: PIECE_LENGTH * 2 })
  assert.deepEqual(Buffer.from(other.bitfield), Buffer.alloc(1))
})

test('sweeps files that no download can go on from', async () => {
  await using setup = await openStore()
  const { paths } = setup
  await writeFile(paths.partialOf(digest), content)
  await writeFile(paths.bitfieldOf(digestOf('other')), '')
  await writeFile(`${paths.partial}/whatever.tmp`, '')
  const again = await setup.reopen()
  assert.deepEqual(await readdir(paths.partial), [])
  assert.deepEqual(await Array.fromAsync(again.listPartials()), [])
})

test('sweeps the download of a blob that is complete', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await writePieces(partial, [0])
  await partial[Symbol.asyncDispose]()
  async function* source() {
    yield content
  }
  await setup.store.ingest(source())
  await setup.reopen()
  assert.deepEqual(await readdir(setup.paths.partial), [])
})

test('lets one download at a time at a digest', async () => {
  await using setup = await openStore()
  const partial = await setup.store.openPartial(shape)
  await assert.rejects(setup.store.openPartial(shape), TypeError)
  await partial.discard()
  await using next = await setup.store.openPartial(shape)
  await assert.rejects(partial.writePiece(0, pieceAt(0)), TypeError)
  assert.deepEqual(heldBy(next), [])
  await partial[Symbol.asyncDispose]()
})

/** A partial blob whose file refuses to sync, as a dying disk does. */
async function openOnBadDisk(path: string, failing: 'sync' | 'datasync') {
  const file = await open(path, 'wx+')
  await file.truncate(content.length)
  let syncs = 0
  file[failing] = async () => {
    await Promise.resolve()
    syncs += 1
    throw Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' })
  }
  let isPublished = false
  const partial = new DiskPartialBlob({
    shape,
    file,
    bitfield: Buffer.alloc(2),
    path,
    bitfieldPath: `${path}.bitfield`,
    log: silentLog,
    publish: async () => {
      await Promise.resolve()
      isPublished = true
    },
    onRelease: () => undefined,
  })
  return { partial, syncs: () => syncs, isPublished: () => isPublished }
}

test('never asks a second time after a failed fsync, nor commits', async () => {
  await using dir = await tempDir()
  const { partial, syncs, isPublished } = await openOnBadDisk(`${dir.path}/part`, 'datasync')
  await writePieces(partial, [0])
  await assert.rejects(partial.checkpoint(), hasCode('DISK_FAULTY'))
  await assert.rejects(partial.checkpoint(), hasCode('DISK_FAULTY'))
  await assert.rejects(partial.writePiece(1, pieceAt(1)), hasCode('DISK_FAULTY'))
  await assert.rejects(partial.commit(), hasCode('DISK_FAULTY'))
  await partial[Symbol.asyncDispose]()
  assert.deepEqual([syncs(), isPublished()], [1, false])
  assert.deepEqual(await readdir(dir.path), [])
})

test('gives no name to a blob whose fsync failed', async () => {
  await using dir = await tempDir()
  const { partial, syncs, isPublished } = await openOnBadDisk(`${dir.path}/part`, 'sync')
  await writePieces(partial, pieceIndexes)
  await assert.rejects(partial.commit(), hasCode('DISK_FAULTY'))
  await assert.rejects(partial.commit(), hasCode('DISK_FAULTY'))
  await partial[Symbol.asyncDispose]()
  assert.deepEqual([syncs(), isPublished()], [1, false])
  assert.deepEqual(await readdir(dir.path), [])
})
