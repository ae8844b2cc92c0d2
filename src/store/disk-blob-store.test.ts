import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { isOperationError, type ErrorCode } from '../errors.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { storePaths } from './paths.ts'

const content = new SeededRandom(1).bytes(300_000)
const digest = digestOf(content)

/** An empty store in a directory of its own. */
async function openStore() {
  const dir = await tempDir()
  const store = await DiskBlobStore.open({ dataDir: dir.path })
  return {
    store,
    paths: storePaths(dir.path),
    dataDir: dir.path,
    reopen: () => DiskBlobStore.open({ dataDir: dir.path }),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** The bytes in chunks; remembers how far it was read and whether it was given up. */
function chunksOf(bytes: Buffer, chunkBytes = 10_000) {
  const source = { bytesRead: 0, isReturned: false }
  const iterator: AsyncIterator<Buffer> = {
    next: async () => {
      await Promise.resolve()
      if (source.bytesRead >= bytes.length) return { done: true, value: undefined }
      const value = bytes.subarray(source.bytesRead, source.bytesRead + chunkBytes)
      source.bytesRead += value.length
      return { done: false, value }
    },
    return: async () => {
      await Promise.resolve()
      source.isReturned = true
      return { done: true, value: undefined }
    },
  }
  return { source, [Symbol.asyncIterator]: () => iterator }
}

async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)
}

/** By digest: the difference of two blobs takes minutes to print. */
function assertSameBytes(found: Buffer, wanted: Buffer, what?: string): void {
  assert.equal(digestOf(found), digestOf(wanted), what)
}

function hasCode(code: ErrorCode) {
  return (error: unknown) => isOperationError(error, code)
}

test('keeps a blob under its digest, read-only, and nothing beside it', async () => {
  await using setup = await openStore()
  const { store, paths, dataDir } = setup
  const ingested = await store.ingest(chunksOf(content))
  assert.deepEqual(ingested, { digest, size: content.length, isNew: true })
  assertSameBytes(await readFile(paths.blobOf(digest)), content)
  assert.equal((await stat(paths.blobOf(digest))).mode & 0o777, 0o444)
  assert.deepEqual(await filesBelow(dataDir), [digest.slice(7)])
  assert.equal(await store.has(digest), true)
  assert.deepEqual(await store.stat(digest), { digest, size: content.length })
})

test('still has its blobs when it is opened again', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  await using again = await setup.reopen()
  assertSameBytes(await buffer(await again.open(digest)), content)
})

test('does not know a blob that it does not hold', async () => {
  await using setup = await openStore()
  assert.equal(await setup.store.has(digest), false)
  assert.equal(await setup.store.stat(digest), undefined)
  await assert.rejects(setup.store.open(digest), hasCode('BLOB_UNKNOWN'))
  await assert.rejects(setup.store.openFile(digest), hasCode('BLOB_UNKNOWN'))
})

test('keeps an empty blob', async () => {
  await using setup = await openStore()
  const empty = digestOf('')
  const { isNew } = await setup.store.ingest(chunksOf(Buffer.alloc(0)), { digest: empty, size: 0 })
  assert.equal(isNew, true)
  assertSameBytes(await buffer(await setup.store.open(empty)), Buffer.alloc(0))
})

test('hashes the pieces in the same pass', async () => {
  await using setup = await openStore()
  const { pieceHashes } = await setup.store.ingest(chunksOf(content), { pieceLength: 262_144 })
  const pieces = [content.subarray(0, 262_144), content.subarray(262_144)]
  assert.deepEqual(
    pieceHashes,
    Buffer.concat(pieces.map((piece) => createHash('sha1').update(piece).digest())),
  )
})

test('keeps chunks of any length in their order', async () => {
  await using setup = await openStore()
  const random = new SeededRandom(5)
  const large = Buffer.concat(Array.from({ length: 12 }, () => content))
  async function* uneven() {
    for (let start = 0; start < large.length;) {
      const length = random.pick([0, 1, 17, 65_536, 1_500_000, 2_500_000])
      yield large.subarray(start, start + length)
      start += length
    }
  }
  const ingested = await setup.store.ingest(uneven(), { size: large.length, pieceLength: 1 << 20 })
  assert.equal(ingested.digest, digestOf(large))
  assertSameBytes(await buffer(await setup.store.open(ingested.digest)), large)
})

test('does not read a source whose blob is there already', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  const { source, ...again } = chunksOf(content)
  const ingested = await setup.store.ingest(again, { digest })
  assert.deepEqual(ingested, { digest, size: content.length, isNew: false })
  assert.deepEqual(source, { bytesRead: 0, isReturned: true })
})

test('lets go of a stream whose blob is there already', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  const stream = new Readable({ read() {} })
  await setup.store.ingest(stream, { digest })
  assert.equal(stream.destroyed, true)
})

test('refuses a size that the blob which is there does not have', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  const again = setup.store.ingest(chunksOf(content), { digest, size: 5 })
  await assert.rejects(again, hasCode('BLOB_SIZE_MISMATCH'))
})

const REFUSALS: readonly [string, object, ErrorCode][] = [
  ['another digest than wanted', { digest: digestOf('other') }, 'BLOB_DIGEST_MISMATCH'],
  ['fewer bytes than wanted', { size: content.length + 1 }, 'BLOB_SIZE_MISMATCH'],
  ['more bytes than wanted', { size: content.length - 1 }, 'BLOB_SIZE_MISMATCH'],
  ['more bytes than allowed', { maxBytes: 1000 }, 'BLOB_SIZE_MISMATCH'],
]
for (const [what, options, code] of REFUSALS) {
  test(`refuses a source with ${what}, and keeps nothing of it`, async () => {
    await using setup = await openStore()
    await assert.rejects(setup.store.ingest(chunksOf(content), options), hasCode(code))
    assert.deepEqual(await filesBelow(setup.dataDir), [])
    assert.equal(await setup.store.has(digest), false)
  })
}

test('stops reading at the first byte too many', async () => {
  await using setup = await openStore()
  const { source, ...chunks } = chunksOf(content)
  await assert.rejects(setup.store.ingest(chunks, { size: 25_000 }))
  assert.equal(source.bytesRead, 30_000)
})

test('passes the failure of a source on unchanged, and keeps nothing', async () => {
  await using setup = await openStore()
  const failure = Object.assign(new Error('not our disk'), { code: 'EIO' })
  async function* broken() {
    yield content
    await Promise.resolve()
    throw failure
  }
  await assert.rejects(setup.store.ingest(broken()), (error) => error === failure)
  assert.deepEqual(await filesBelow(setup.dataDir), [])
})

test('gives up at once when its signal fires, though the source brings nothing', async () => {
  await using setup = await openStore()
  const stop = new AbortController()
  let reads = 0
  const stream = new Readable({
    read() {
      reads += 1
      if (reads === 1) this.push(content)
      else setImmediate(() => stop.abort(new Error('enough')))
    },
  })
  const ingest = setup.store.ingest(stream, { signal: stop.signal })
  await assert.rejects(ingest, /enough/)
  assert.equal(stream.destroyed, true)
  assert.deepEqual(await filesBelow(setup.dataDir), [])
})

test('ends ingests under way when it is closed', async () => {
  await using setup = await openStore()
  const never = new Readable({ read() {} })
  const ingest = setup.store.ingest(never)
  const rejected = assert.rejects(ingest, /store is closed/)
  await setup.store[Symbol.asyncDispose]()
  await rejected
  assert.deepEqual(await filesBelow(setup.dataDir), [])
})

test('takes one blob from many sources at once, and only the first is new', async () => {
  await using setup = await openStore()
  const ingests = await Promise.all(
    Array.from({ length: 8 }, () => setup.store.ingest(chunksOf(content))),
  )
  assert.equal(ingests.filter(({ isNew }) => isNew).length, 1)
  assert.deepEqual(await filesBelow(setup.dataDir), [digest.slice(7)])
  assertSameBytes(await buffer(await setup.store.open(digest)), content)
})

test('streams ranges with both ends included', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  for (const [start, end] of [
    [0, 0],
    [5, 262_200],
    [content.length - 1, content.length - 1],
  ] as const) {
    const bytes = await buffer(await setup.store.open(digest, { start, end }))
    assertSameBytes(bytes, content.subarray(start, end + 1))
  }
  await assert.rejects(setup.store.open(digest, { start: 0, end: content.length }), TypeError)
})

test('reads anywhere in a blob, and on after it was removed', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  await using file = await setup.store.openFile(digest)
  assert.equal(file.size, content.length)
  await setup.store.remove(digest)
  assertSameBytes(await file.read(1000, 16_384), content.subarray(1000, 17_384))
  await assert.rejects(file.read(content.length - 1, 2), hasCode('BLOB_SIZE_MISMATCH'))
  assert.equal(await setup.store.has(digest), false)
})

test('removes a blob, and takes it again', async () => {
  await using setup = await openStore()
  await setup.store.ingest(chunksOf(content))
  await setup.store.remove(digest)
  await setup.store.remove(digest)
  assert.equal((await setup.store.ingest(chunksOf(content), { digest })).isNew, true)
})

test('lists its blobs and nothing else', async () => {
  await using setup = await openStore()
  const { store, paths } = setup
  const wanted: Digest[] = []
  for (let index = 0; index < 20; index += 1) {
    wanted.push((await store.ingest(chunksOf(Buffer.from(`blob ${index}`)))).digest)
  }
  await writeFile(join(paths.blobs, 'stray'), '')
  await writeFile(join(paths.folderOf(digest), 'stray'), '').catch(() => undefined)
  await mkdir(join(paths.blobs, 'zz'))
  const copied = wanted[0]?.slice(7) ?? ''
  await writeFile(join(paths.blobs, 'zz', copied), 'blob 0')
  const found = await Array.fromAsync(store.list(), (blob) => blob.digest)
  assert.deepEqual(found.sort(), wanted.sort())
})

test('takes what cannot be the blob for absent, and puts the blob in its place', async () => {
  await using setup = await openStore()
  const { store, paths } = setup
  const path = paths.blobOf(digest)
  await mkdir(dirname(path), { recursive: true })
  const elsewhere = join(setup.dataDir, 'elsewhere')
  await writeFile(elsewhere, content)
  const obstacles = {
    'an empty file': () => writeFile(path, ''),
    'a directory': () => mkdir(join(path, 'full'), { recursive: true }),
    'a symbolic link': () => symlink(elsewhere, path),
    'a FIFO': () => promisify(execFile)('mkfifo', [path]),
  }
  for (const [what, place] of Object.entries(obstacles)) {
    await place()
    assert.equal(await store.has(digest), false, what)
    await assert.rejects(store.openFile(digest), hasCode('BLOB_UNKNOWN'), what)
    assert.deepEqual(await Array.fromAsync(store.list()), [], what)
    assert.equal((await store.ingest(chunksOf(content), { digest })).isNew, true, what)
    assertSameBytes(await buffer(await store.open(digest)), content, what)
    await store.remove(digest)
  }
})

test('sweeps what earlier ingests left', async () => {
  await using setup = await openStore()
  await writeFile(join(setup.paths.tmp, 'left'), content)
  await using again = await setup.reopen()
  assert.deepEqual(await filesBelow(setup.dataDir), [])
  assert.equal(await again.has(digest), false)
})

test('says that a data directory below a file cannot be used', async () => {
  await using dir = await tempDir()
  const file = join(dir.path, 'file')
  await writeFile(file, '')
  const opening = DiskBlobStore.open({ dataDir: join(file, 'data') })
  await assert.rejects(opening, hasCode('DATA_DIR_UNUSABLE'))
})

test('says that a data directory without permission cannot be used', async () => {
  await using dir = await tempDir()
  await chmod(dir.path, 0o500)
  const isRoot = process.geteuid?.() === 0
  // root may write everywhere
  if (isRoot) process.seteuid?.('nobody')
  try {
    const opening = DiskBlobStore.open({ dataDir: join(dir.path, 'data') })
    await assert.rejects(opening, hasCode('DATA_DIR_UNUSABLE'))
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
})
