import { createHash, type Hash } from 'node:crypto'
import { open, rm, type FileHandle } from 'node:fs/promises'

import { Digester, type Digest } from '../oci/digest.ts'
import { BatchWriter, onDisk } from './batch-writer.ts'
import type { BlobUpload, IngestedBlob } from './blob-store.ts'
import { checkSizeSoFar, checkWhole, slicesOf, type ReceivedBlob } from './ingest.ts'
import { PieceDigester } from './piece-digester.ts'

const READ_BYTES = 1024 * 1024

interface DiskBlobUploadOptions {
  readonly path: string
  /** bytes of a piece, for a blob of so many bytes */
  readonly pieceLengthOf: (size: number) => number
  /** gives the file its name; false where the blob was there before, and the file stays where it is */
  readonly publish: (digest: Digest) => Promise<boolean>
  readonly onEnd: () => void
}

/**
 * A blob that comes in parts, over several requests, of a size and a digest that are told at the end. Its file is
 * removed unless it is committed.
 */
export class DiskBlobUpload implements BlobUpload {
  readonly #options: DiskBlobUploadOptions
  readonly #file: FileHandle
  readonly #digester = new Digester()
  /** how long pieces are depends on the size: hashed as the smallest blobs have them, given up beyond that */
  #pieces: PieceDigester | undefined
  readonly #pieceLength: number
  #state: 'open' | 'broken' | 'ended' = 'open'

  private constructor(file: FileHandle, options: DiskBlobUploadOptions) {
    this.#file = file
    this.#options = options
    this.#pieceLength = options.pieceLengthOf(0)
    this.#pieces = new PieceDigester(this.#pieceLength)
  }

  /** @throws OperationError DISK_FULL, DISK_READ_ONLY */
  static async open(options: DiskBlobUploadOptions): Promise<DiskBlobUpload> {
    return new DiskBlobUpload(await onDisk(open(options.path, 'wx+', 0o600)), options)
  }

  get size(): number {
    return this.#digester.bytes
  }

  async append(
    source: AsyncIterable<Uint8Array>,
    { maxBytes, signal }: { maxBytes?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    this.#assertOpen()
    const writer = new BatchWriter(this.#file, this.size)
    try {
      for await (const chunk of slicesOf(source, signal)) {
        checkSizeSoFar(this.size + chunk.length, maxBytes === undefined ? {} : { maxBytes })
        this.#take(chunk)
        await writer.write(chunk)
      }
    } finally {
      await this.#endOf(writer)
    }
  }

  async sha512(): Promise<string> {
    this.#assertOpen()
    const hash = createHash('sha512')
    await this.#hashAll(hash)
    return hash.digest('hex')
  }

  async prepare({ digest }: { digest?: Digest } = {}): Promise<ReceivedBlob> {
    this.#assertOpen()
    this.#state = 'broken'
    const received: ReceivedBlob = { size: this.size, digest: this.#digester.digest() }
    checkWhole(received, digest ? { digest } : {})
    await onDisk(this.#file.chmod(0o444))
    // a failed fsync is final: the pages count as clean now, and a second one would say nothing
    await onDisk(this.#file.sync())
    const fits = this.#options.pieceLengthOf(this.size) === this.#pieceLength
    return this.#pieces && fits ? { ...received, pieceHashes: this.#pieces.digest() } : received
  }

  async commit(received: ReceivedBlob): Promise<IngestedBlob> {
    const isNew = await this.#options.publish(received.digest)
    return { ...received, isNew }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#options.onEnd()
    await this.#file.close().catch(() => undefined)
    // once published, nothing lies there any more; what cannot be removed is swept at the next open
    await rm(this.#options.path, { force: true }).catch(() => undefined)
  }

  #take(chunk: Uint8Array): void {
    this.#digester.update(chunk)
    this.#pieces?.update(chunk)
    if (this.#pieces && this.#options.pieceLengthOf(this.size) !== this.#pieceLength) {
      this.#pieces = undefined
    }
  }

  /** What was hashed must be on disk, or nothing more can be made of it. */
  async #endOf(writer: BatchWriter): Promise<void> {
    try {
      await writer.end()
    } catch (error) {
      this.#state = 'broken'
      throw error
    }
  }

  async #hashAll(hash: Hash): Promise<void> {
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    for (let offset = 0; offset < this.size;) {
      const { bytesRead } = await onDisk(this.#file.read(buffer, 0, READ_BYTES, offset))
      if (bytesRead === 0) throw new TypeError(`upload: its file ends at ${offset} of ${this.size}`)
      hash.update(buffer.subarray(0, bytesRead))
      offset += bytesRead
    }
  }

  #assertOpen(): void {
    if (this.#state !== 'open') throw new TypeError(`upload: it is ${this.#state}`)
  }
}
