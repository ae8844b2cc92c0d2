import { randomBytes } from 'node:crypto'
import { mkdir, opendir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { syncDirectory } from '../support/atomic-file.ts'
import { diskError } from '../support/disk-error.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { DiskBlobFile, openBlob, statBlob } from './blob-file.ts'
import type {
  BlobFile,
  BlobStore,
  BlobUpload,
  ByteRange,
  IngestedBlob,
  IngestOptions,
  PartialBlob,
  StoredBlob,
} from './blob-store.ts'
import { DiskBlobUpload } from './blob-upload.ts'
import { abandonSource, receiveBlob, type ReceivedBlob } from './ingest.ts'
import { DiskPartialBlob } from './partial-blob.ts'
import { listPartialFiles, openPartialFile, sweepPartialFiles } from './partial-files.ts'
import { digestOfFileName, storePaths, type StorePaths } from './paths.ts'

const READ_STREAM_BYTES = 256 * 1024

/**
 * Blobs as files of a data directory (tree in `paths.ts`). One process at a time: opening sweeps what an earlier
 * one left under way. The order that makes a blob durable is always: bytes, fsync, read-only, rename, fsync of the
 * folder; so a name under `blobs/` stands for the right bytes after `kill -9` and after a power cut.
 */
export class DiskBlobStore implements BlobStore {
  readonly #paths: StorePaths
  readonly #log: Log
  readonly #publishing = new KeyedLock()
  /** folders whose own names are known to be durable */
  readonly #durableFolders = new Set<string>()
  readonly #partials = new Map<Digest, DiskPartialBlob | 'opening'>()
  readonly #ingests = new Set<Promise<unknown>>()
  readonly #uploads = new Set<DiskBlobUpload>()
  readonly #closing = new AbortController()

  private constructor(paths: StorePaths, log: Log) {
    this.#paths = paths
    this.#log = log
  }

  /**
   * Opens the store below `dataDir`, which is made where it is missing. A store that cannot be written, but
   * read, opens and serves.
   * @throws OperationError DATA_DIR_UNUSABLE, DISK_FULL, DISK_READ_ONLY
   */
  static async open({
    dataDir,
    log = silentLog,
  }: {
    dataDir: string
    log?: Log
  }): Promise<DiskBlobStore> {
    const paths = storePaths(dataDir)
    const store = new DiskBlobStore(paths, log)
    try {
      for (const folder of [paths.blobs, paths.partial, paths.tmp]) await makeFolder(folder)
      await store.#sweep()
    } catch (error) {
      throw diskError(error, `data directory ${dataDir}`)
    }
    return store
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.stat(digest)) !== undefined
  }

  async stat(digest: Digest): Promise<StoredBlob | undefined> {
    return statBlob(this.#paths.blobOf(digest), digest)
  }

  async open(digest: Digest, range?: ByteRange): Promise<Readable> {
    const { file, size } = await openBlob(this.#paths.blobOf(digest), digest)
    try {
      return file.createReadStream({ highWaterMark: READ_STREAM_BYTES, ...within(range, size) })
    } catch (error) {
      await file.close()
      throw error
    }
  }

  pathOf(digest: Digest): string {
    return this.#paths.blobOf(digest)
  }

  async openFile(digest: Digest): Promise<BlobFile> {
    return new DiskBlobFile(await openBlob(this.#paths.blobOf(digest), digest))
  }

  async ingest(
    source: AsyncIterable<Uint8Array>,
    options: IngestOptions = {},
  ): Promise<IngestedBlob> {
    this.#closing.signal.throwIfAborted()
    const ingest = this.#ingest(source, options)
    this.#ingests.add(ingest)
    try {
      return await ingest
    } finally {
      this.#ingests.delete(ingest)
    }
  }

  async openUpload({
    pieceLengthOf,
  }: {
    pieceLengthOf: (size: number) => number
  }): Promise<BlobUpload> {
    this.#closing.signal.throwIfAborted()
    const path = this.#newTemporary()
    const upload: DiskBlobUpload = await DiskBlobUpload.open({
      path,
      pieceLengthOf,
      publish: (digest) => this.#publish(digest, path),
      onEnd: () => this.#uploads.delete(upload),
    })
    this.#uploads.add(upload)
    return upload
  }

  async openPartial({
    digest,
    size,
    pieceLength,
    pieceHash,
  }: {
    digest: Digest
    size: number
    pieceLength: number
    pieceHash?: (index: number) => Uint8Array
  }): Promise<PartialBlob> {
    const shape = { digest, size, pieceLength }
    this.#closing.signal.throwIfAborted()
    if (this.#partials.has(digest)) throw new TypeError(`partial ${digest} is open already`)
    this.#partials.set(digest, 'opening')
    try {
      const partial = new DiskPartialBlob({
        ...(await openPartialFile(shape, this.#paths, pieceHash)),
        shape,
        path: this.#paths.partialOf(digest),
        bitfieldPath: this.#paths.bitfieldOf(digest),
        log: this.#log,
        publish: () => this.#publishPartial(digest),
        onRelease: () => this.#partials.delete(digest),
      })
      this.#partials.set(digest, partial)
      return partial
    } catch (error) {
      this.#partials.delete(digest)
      throw diskError(error, `partial ${digest}`)
    }
  }

  listPartials(): AsyncIterable<Digest> {
    return listPartialFiles(this.#paths)
  }

  async remove(digest: Digest): Promise<void> {
    try {
      await this.#publishing.run(digest, () =>
        rm(this.#paths.blobOf(digest), { recursive: true, force: true }),
      )
    } catch (error) {
      throw diskError(error, `blob ${digest}`)
    }
  }

  async *list(): AsyncIterable<StoredBlob> {
    const folders = await readdir(this.#paths.blobs, { withFileTypes: true })
    for (const folder of folders) {
      if (folder.isDirectory()) yield* this.#listFolder(join(this.#paths.blobs, folder.name))
    }
  }

  /** Ends ingests and uploads under way and closes partial blobs; what these have is kept for the next time. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the store is closed'))
    await Promise.allSettled(this.#ingests)
    for (const upload of this.#uploads) await upload[Symbol.asyncDispose]()
    for (const partial of this.#partials.values()) {
      if (partial !== 'opening') await partial[Symbol.asyncDispose]()
    }
  }

  async #ingest(source: AsyncIterable<Uint8Array>, options: IngestOptions): Promise<IngestedBlob> {
    options.signal?.throwIfAborted()
    const present = options.digest && (await this.stat(options.digest))
    if (present) {
      abandonSource(source)
      assertSize(present, options)
      return { ...present, isNew: false }
    }
    const path = this.#newTemporary()
    try {
      const received = await this.#receive(source, path, options)
      return { ...received, isNew: await this.#publish(received.digest, path) }
    } finally {
      // one that cannot be removed is swept at the next open
      await rm(path, { force: true }).catch(() => undefined)
    }
  }

  #newTemporary(): string {
    return join(this.#paths.tmp, randomBytes(16).toString('hex'))
  }

  async #receive(
    source: AsyncIterable<Uint8Array>,
    path: string,
    options: IngestOptions,
  ): Promise<ReceivedBlob> {
    const closing = this.#closing.signal
    const signal = options.signal ? AbortSignal.any([options.signal, closing]) : closing
    return await receiveBlob(source, path, { ...options, signal })
  }

  /**
   * Moves a durable file to its name. Two of one digest come one after the other, and the second finds the first.
   * @returns whether the blob is new; where not, the file stays where it is
   */
  async #publish(digest: Digest, path: string): Promise<boolean> {
    try {
      return await this.#publishing.run(digest, () => this.#rename(digest, path))
    } catch (error) {
      throw diskError(error, `blob ${digest}`)
    }
  }

  async #publishPartial(digest: Digest): Promise<void> {
    const path = this.#paths.partialOf(digest)
    const isNew = await this.#publish(digest, path)
    if (!isNew) await rm(path, { force: true })
  }

  async #rename(digest: Digest, path: string): Promise<boolean> {
    const folder = this.#paths.folderOf(digest)
    if (await this.has(digest)) {
      // an earlier process may have been killed between its rename and its fsync
      await syncDirectory(folder)
      return false
    }
    await this.#makeBlobFolder(folder)
    await renameOver(path, this.#paths.blobOf(digest))
    try {
      await syncDirectory(folder)
    } catch (error) {
      // what is not acknowledged is not there either
      await rm(this.#paths.blobOf(digest), { force: true }).catch(() => undefined)
      throw error
    }
    return true
  }

  async #makeBlobFolder(folder: string): Promise<void> {
    const isNew = await makeFolder(folder)
    // one that is there may have been made by a process that was killed before its fsync
    if (!isNew && !this.#durableFolders.has(folder)) await syncDirectory(dirname(folder))
    this.#durableFolders.add(folder)
  }

  async *#listFolder(folder: string): AsyncIterable<StoredBlob> {
    for await (const entry of await opendir(folder)) {
      const digest = digestOfFileName(entry.name)
      const isInPlace = digest && this.#paths.folderOf(digest) === folder
      const blob = isInPlace && (await this.stat(digest))
      if (blob) yield blob
    }
  }

  async #sweep(): Promise<void> {
    try {
      for (const name of await readdir(this.#paths.tmp)) {
        await rm(join(this.#paths.tmp, name), { recursive: true, force: true })
      }
      await sweepPartialFiles(this.#paths, (digest) => this.has(digest))
    } catch (error) {
      if (systemCodeOf(error) !== 'EROFS') throw error
      this.#log.warn(
        { error: messageOf(error) },
        'data directory is read-only: blobs are only served',
      )
    }
  }
}

/**
 * Makes a folder, and the parents it lacks, durable. Not by `recursive`, which calls a read-only disk ENOENT.
 * @returns whether it was not there before
 */
async function makeFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path)
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false
    if (systemCodeOf(error) !== 'ENOENT') throw error
    await makeFolder(dirname(path))
    await mkdir(path)
  }
  await syncDirectory(dirname(path))
  return true
}

/** Takes a directory out of the way, which a rename would not replace. */
async function renameOver(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (!['EISDIR', 'ENOTEMPTY', 'EEXIST'].includes(systemCodeOf(error) ?? '')) throw error
    await rm(to, { recursive: true, force: true })
    await rename(from, to)
  }
}

function within(range: ByteRange | undefined, size: number): Partial<ByteRange> {
  if (!range) return {}
  const { start, end } = range
  const isRange = start >= 0 && start <= end && end < size
  if (!isRange) throw new TypeError(`bytes ${start}-${end} of ${size}`)
  return { start, end }
}

function assertSize(found: StoredBlob, { size }: IngestOptions): void {
  if (size === undefined || size === found.size) return
  throw new OperationError(
    'BLOB_SIZE_MISMATCH',
    `blob ${found.digest}: wanted ${size} bytes, it has ${found.size}`,
    { details: { wantedBytes: size, foundBytes: found.size } },
  )
}
