import assert from 'node:assert/strict'
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

import { Catalog } from '../catalog/catalog.ts'
import { isOperationError, type ErrorCode } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { mustRun } from '../testing/lab/child.ts'
import { requireLab } from '../testing/lab/lab-requirements.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { storePaths } from './paths.ts'

const MIB = 1024 * 1024
const PIECE_LENGTH = MIB

/** A file system in memory of its own. */
async function mountSmall(sizeBytes: number) {
  const dir = await tempDir()
  await mustRun('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'none', dir.path])
  const remount = (mode: 'ro' | 'rw') =>
    mustRun('mount', ['-o', `remount,${mode},size=${sizeBytes}`, dir.path])
  return {
    path: dir.path,
    remount,
    /** Leaves `leftBytes` of room, until {@link makeRoom}. */
    async fill(leftBytes: number) {
      const { bavail, bsize } = await statfs(dir.path)
      await writeFile(join(dir.path, 'ballast'), Buffer.alloc(bavail * bsize - leftBytes))
    },
    makeRoom: () => rm(join(dir.path, 'ballast')),
    async [Symbol.asyncDispose]() {
      await mustRun('umount', ['-l', dir.path])
      await dir[Symbol.asyncDispose]()
    },
  }
}

async function* chunksOf(bytes: Buffer) {
  for (let start = 0; start < bytes.length; start += 65_536) {
    yield bytes.subarray(start, start + 65_536)
  }
}

/** By digest: the difference of two blobs takes minutes to print. */
function assertSameBytes(found: Buffer, wanted: Buffer, what?: string): void {
  assert.equal(digestOf(found), digestOf(wanted), what)
}

function hasCode(code: ErrorCode) {
  return (error: unknown) => isOperationError(error, code)
}

function imageOf(index: number, mediaType = 'application/vnd.oci.image.manifest.v1+json') {
  const digest = digestOf(`image ${index}`)
  return { digest, mediaType, size: 500, blobs: [], addedAtMs: index }
}

test('refuses a blob for which there is no room, keeps nothing of it, and takes it when there is', async (t) => {
  if (!requireLab(t, ['linux', 'root'])) return
  await using disk = await mountSmall(32 * MIB)
  await using store = await DiskBlobStore.open({ dataDir: disk.path })
  const small = await store.ingest(chunksOf(Buffer.alloc(MIB, 1)))
  const content = Buffer.alloc(8 * MIB, 2)
  await disk.fill(4 * MIB)
  await assert.rejects(store.ingest(chunksOf(content)), hasCode('DISK_FULL'))
  assert.deepEqual(await readdir(storePaths(disk.path).tmp), [])
  assert.deepEqual(await Array.fromAsync(store.list(), ({ digest }) => digest), [small.digest])
  assert.equal((await buffer(await store.open(small.digest))).length, MIB)
  await disk.makeRoom()
  const { digest } = await store.ingest(chunksOf(content))
  assertSameBytes(await buffer(await store.open(digest)), content)
})

test('keeps the pieces of a download while there is no room, and goes on when there is', async (t) => {
  if (!requireLab(t, ['linux', 'root'])) return
  await using disk = await mountSmall(32 * MIB)
  await using store = await DiskBlobStore.open({ dataDir: disk.path })
  const content = Buffer.concat([0, 1, 2, 3, 4, 5, 6, 7].map((fill) => Buffer.alloc(MIB, fill)))
  const shape = { digest: digestOf(content), size: content.length, pieceLength: PIECE_LENGTH }
  await disk.fill(3.5 * MIB)
  const partial = await store.openPartial(shape)
  const write = (index: number) =>
    partial.writePiece(index, content.subarray(index * MIB, (index + 1) * MIB))
  for (const index of [6, 0, 3]) await write(index)
  await assert.rejects(write(1), hasCode('DISK_FULL'))
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 6, 7].filter((index) => partial.hasPiece(index)),
    [0, 3, 6],
  )
  await disk.makeRoom()
  await partial.checkpoint()
  for (const index of [1, 2, 4, 5, 7]) await write(index)
  await partial.commit()
  await partial[Symbol.asyncDispose]()
  assertSameBytes(await buffer(await store.open(shape.digest)), content)
})

test('keeps what the catalog acknowledged while there is no room, and takes more when there is', async (t) => {
  if (!requireLab(t, ['linux', 'root'])) return
  await using disk = await mountSmall(64 * MIB)
  const where = { path: join(disk.path, 'catalog'), recordsPath: join(disk.path, 'records') }
  const kept: number[] = []
  let refusals = 0
  {
    await using catalog = await Catalog.open(where)
    await catalog.putImage(imageOf(0))
    kept.push(0)
    await disk.fill(64 * 1024)
    for (let index = 1; refusals < 5; index += 1) {
      try {
        await catalog.putImage({ ...imageOf(index, 'x'.repeat(5000)) })
        kept.push(index)
      } catch (error) {
        assert.ok(isOperationError(error, 'DISK_FULL'))
        refusals += 1
      }
    }
    for (const index of kept) assert.ok(await catalog.image(digestOf(`image ${index}`)))
    await disk.makeRoom()
    await catalog.putImage(imageOf(1000))
    kept.push(1000)
    await catalog.pin(digestOf('image 0'), 'room again')
  }
  await using again = await Catalog.open(where)
  for (const index of kept) assert.ok(await again.image(digestOf(`image ${index}`)), `${index}`)
  assert.equal((await Array.fromAsync(again.pins())).length, 1)
})

test('moves no catalog aside for want of room', async (t) => {
  if (!requireLab(t, ['linux', 'root'])) return
  await using disk = await mountSmall(32 * MIB)
  const where = { path: join(disk.path, 'catalog'), recordsPath: join(disk.path, 'records') }
  const catalog = await Catalog.open(where)
  await catalog.putImage(imageOf(0))
  await catalog.close()
  await disk.fill(0)
  await assert.rejects(Catalog.open(where), hasCode('DISK_FULL'))
  await disk.makeRoom()
  await using again = await Catalog.open(where)
  assert.ok(await again.image(digestOf('image 0')))
})

test('serves from a disk that became read-only, and says so to whoever writes', async (t) => {
  if (!requireLab(t, ['linux', 'root'])) return
  await using disk = await mountSmall(32 * MIB)
  const where = { path: join(disk.path, 'catalog'), recordsPath: join(disk.path, 'records') }
  await (await Catalog.open(where)).close()
  const content = Buffer.alloc(MIB, 3)
  const digest = digestOf(content)
  {
    await using store = await DiskBlobStore.open({ dataDir: disk.path })
    await store.ingest(chunksOf(content))
  }
  await writeFile(join(storePaths(disk.path).tmp, 'left'), 'over')
  await disk.remount('ro')
  await using store = await DiskBlobStore.open({ dataDir: disk.path })
  assertSameBytes(await buffer(await store.open(digest)), content)
  assert.equal((await store.ingest(chunksOf(content), { digest })).isNew, false)
  const other = chunksOf(Buffer.alloc(MIB, 4))
  await assert.rejects(store.ingest(other), hasCode('DISK_READ_ONLY'))
  const shape = { digest: digestOf('other'), size: MIB, pieceLength: PIECE_LENGTH }
  await assert.rejects(store.openPartial(shape), hasCode('DISK_READ_ONLY'))
  await assert.rejects(store.remove(digest), hasCode('DISK_READ_ONLY'))
  await assert.rejects(Catalog.open(where), hasCode('DISK_READ_ONLY'))
  await disk.remount('rw')
  assert.equal((await store.ingest(chunksOf(Buffer.alloc(MIB, 4)))).isNew, true)
  await (await Catalog.open(where)).close()
})

test('says that a store cannot be made on a read-only disk', async (t) => {
  if (!requireLab(t, ['linux', 'root'])) return
  await using disk = await mountSmall(MIB)
  await mkdir(join(disk.path, 'empty'))
  await disk.remount('ro')
  const opening = DiskBlobStore.open({ dataDir: join(disk.path, 'empty') })
  await assert.rejects(opening, hasCode('DISK_READ_ONLY'))
})
