import type { FileHandle } from 'node:fs/promises'

import { diskError } from '../support/disk-error.ts'
import { writeChunksAt } from './file-bytes.ts'

// measured: 1 MiB batches written while the next one is hashed reach the speed of the hash alone
export const BATCH_BYTES = 1024 * 1024
const BATCH_CHUNKS = 256

/** Collects chunks into batches, and writes one batch while the next is collected. */
export class BatchWriter {
  readonly #file: FileHandle
  #batch: Uint8Array[] = []
  #batchBytes = 0
  #offset: number
  #writing: Promise<void> = Promise.resolve()

  /** @param offset where the first chunk goes, bytes */
  constructor(file: FileHandle, offset = 0) {
    this.#file = file
    this.#offset = offset
  }

  /** @throws OperationError DISK_FULL, DISK_READ_ONLY, DISK_FAULTY: of this chunk or of one before */
  async write(chunk: Uint8Array): Promise<void> {
    this.#batch.push(chunk)
    this.#batchBytes += chunk.length
    if (this.#batchBytes >= BATCH_BYTES || this.#batch.length >= BATCH_CHUNKS) await this.#turn()
  }

  /** Waits until all chunks are with the system. @throws as {@link write} */
  async end(): Promise<void> {
    await this.#turn()
    await this.#writing
  }

  /** Waits for the batch before this one, so that at most two are in memory. */
  async #turn(): Promise<void> {
    await this.#writing
    if (this.#batch.length === 0) return
    this.#writing = onDisk(writeChunksAt(this.#file, this.#batch, this.#offset))
    // a failure shows at the next turn; until then nobody waits for it
    this.#writing.catch(() => undefined)
    this.#offset += this.#batchBytes
    this.#batch = []
    this.#batchBytes = 0
  }
}

/** Only our own file operations say something about our disk; a source may fail with the same system codes. */
export async function onDisk<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    throw diskError(error, 'ingest')
  }
}
