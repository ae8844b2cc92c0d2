import { rm, type FileHandle } from 'node:fs/promises'

import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { diskError } from '../support/disk-error.ts'
import type { Log } from '../telemetry/log.ts'
import type { PartialBlob } from './blob-store.ts'
import { CheckpointSchedule } from './checkpoint-schedule.ts'
import { readExactly, readInto, writeAt } from './file-bytes.ts'
import {
  encodeBitfield,
  hasBit,
  pieceCountOf,
  setBit,
  type PartialBlobShape,
} from './partial-bitfield.ts'
import { PrefixDigester } from './prefix-digester.ts'

/** What a partial blob is given: its open file, what is in it, and what to do at its end. */
export interface PartialBlobParts {
  readonly shape: PartialBlobShape
  readonly file: FileHandle
  /** pieces that are in the file */
  readonly bitfield: Uint8Array
  readonly path: string
  readonly bitfieldPath: string
  readonly log: Log
  /** Gives the file, which is durable, its name among the complete blobs. @throws OperationError */
  readonly publish: () => Promise<void>
  /** Called once, when another download of this digest may begin. */
  readonly onRelease: () => void
}

/**
 * A blob under download on disk.
 *
 *   open ──commit──▶ complete ──dispose──▶ closed      reads go on while complete
 *     ├────discard──▶ discarded ──dispose──▶ closed
 *     └────dispose──▶ closed                           what is here is kept for the next time
 *
 * A failed fsync is final (pages are marked clean although they are not on disk): from then on every
 * write, checkpoint and commit fails with it, and the end of the blob removes the files.
 */
export class DiskPartialBlob implements PartialBlob {
  readonly digest: Digest
  readonly size: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly bitfield: Uint8Array
  readonly path: string
  readonly #parts: PartialBlobParts
  readonly #digester: PrefixDigester
  readonly #schedule: CheckpointSchedule
  readonly #writes = new Map<number, Promise<void>>()
  #state: 'open' | 'complete' | 'discarded' | 'closed' = 'open'
  #checkpoints: Promise<void> = Promise.resolve()
  #commit: Promise<void> | undefined
  #disposal: Promise<void> | undefined
  #durable: Uint8Array
  #failure: unknown
  #proof: Promise<void> | undefined

  constructor(parts: PartialBlobParts) {
    const { shape, bitfield, file } = parts
    this.digest = shape.digest
    this.size = shape.size
    this.pieceLength = shape.pieceLength
    this.pieceCount = pieceCountOf(shape)
    this.bitfield = bitfield
    this.path = parts.path
    this.#durable = Uint8Array.from(bitfield)
    this.#parts = parts
    this.#digester = new PrefixDigester({
      size: shape.size,
      pieceLength: shape.pieceLength,
      hasPiece: (index) => this.hasPiece(index),
      readInto: (buffer, offset) => readInto(file, buffer, offset),
    })
    this.#schedule = new CheckpointSchedule(() => this.#checkpointQuietly())
    this.#digester.catchUp()
  }

  hasPiece(index: number): boolean {
    return hasBit(this.bitfield, index)
  }

  async writePiece(index: number, bytes: Uint8Array): Promise<void> {
    // two peers may bring the last piece; the second comes too late and does no harm
    if (this.#state === 'complete') return
    this.#assertWritable()
    this.#assertPieceLength(index, bytes.length)
    if (this.hasPiece(index)) return
    const underWay = this.#writes.get(index)
    if (underWay) return underWay
    const write = this.#writeNewPiece(index, bytes).finally(() => this.#writes.delete(index))
    this.#writes.set(index, write)
    return write
  }

  adoptPiece(index: number): void {
    const length = this.#lengthOf(index)
    if (this.#state !== 'open' || this.hasPiece(index)) return
    setBit(this.bitfield, index, true)
    this.#digester.catchUp()
    this.#schedule.onPiece(length)
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return readExactly(this.#parts.file, offset, length)
  }

  async readInto(bytes: Uint8Array, offset: number): Promise<void> {
    return readInto(this.#parts.file, bytes, offset)
  }

  async checkpoint(): Promise<void> {
    if (this.#state === 'complete') return
    this.#assertWritable()
    const checkpoint = this.#checkpoints.then(() => this.#checkpointNow())
    this.#checkpoints = checkpoint.catch(() => undefined)
    return checkpoint
  }

  async prove(): Promise<void> {
    if (this.#state === 'complete') return
    // one that failed for want of a piece, or of a readable disk, may be tried again
    this.#proof ??= this.#proveNow().catch((error: unknown) => {
      if (this.#state === 'open') this.#proof = undefined
      throw error
    })
    return this.#proof
  }

  async commit(): Promise<void> {
    this.#commit ??= this.#commitNow().finally(() => {
      if (this.#state !== 'complete') this.#commit = undefined
    })
    return this.#commit
  }

  async discard(): Promise<void> {
    await this.#commit?.catch(() => undefined)
    await this.#discardNow()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#dispose()
    return this.#disposal
  }

  async #dispose(): Promise<void> {
    await this.#commit?.catch(() => undefined)
    try {
      if (this.#state === 'open') await this.#leaveForLater()
    } finally {
      this.#state = 'closed'
      await this.#parts.file.close()
    }
  }

  async #writeNewPiece(index: number, bytes: Uint8Array): Promise<void> {
    try {
      await writeAt(this.#parts.file, bytes, index * this.pieceLength)
    } catch (error) {
      throw diskError(error, `partial ${this.digest}`)
    }
    setBit(this.bitfield, index, true)
    this.#digester.onPiece(index, bytes)
    this.#schedule.onPiece(bytes.length)
  }

  async #checkpointNow(): Promise<void> {
    // only pieces that are written before the sync begins are proven durable by it
    const durable = Uint8Array.from(this.bitfield)
    if (this.#state !== 'open' || Buffer.compare(durable, this.#durable) === 0) return
    await this.#durably(() => this.#parts.file.datasync())
    try {
      const content = encodeBitfield(this.#parts.shape, durable)
      await writeFileAtomically(this.#parts.bitfieldPath, content)
      this.#durable = durable
    } catch (error) {
      throw diskError(error, `bitfield of ${this.digest}`)
    }
  }

  async #checkpointQuietly(): Promise<void> {
    try {
      await this.checkpoint()
    } catch (error) {
      const fields = { digest: this.digest, error: messageOf(error) }
      this.#parts.log.warn(fields, 'checkpoint of a partial blob failed')
    }
  }

  async #proveNow(): Promise<void> {
    this.#assertWritable()
    await Promise.all(this.#writes.values())
    const found = await this.#digester.finish()
    if (found !== this.digest) {
      await this.#discardNow()
      throw new OperationError(
        'BLOB_DIGEST_MISMATCH',
        `partial blob: wanted ${this.digest}, got ${found}`,
        { details: { wanted: this.digest, found } },
      )
    }
  }

  async #commitNow(): Promise<void> {
    await this.prove()
    this.#assertWritable()
    await this.#settle()
    await this.#makeComplete()
    this.#state = 'complete'
    this.#parts.onRelease()
    // one that stays is swept when the store opens again
    await rm(this.#parts.bitfieldPath, { force: true }).catch(() => undefined)
  }

  async #makeComplete(): Promise<void> {
    await this.#durably(async () => {
      await this.#parts.file.chmod(0o444)
      await this.#parts.file.sync()
    })
    try {
      await this.#parts.publish()
    } catch (error) {
      // without room or permission the pieces stay, and another commit may do better
      if (isOperationError(error, 'DISK_FAULTY')) this.#failure = error
      throw error
    }
  }

  /** Runs a sync; what it cannot make durable is given up for good. */
  async #durably(sync: () => Promise<void>): Promise<void> {
    try {
      await sync()
    } catch (error) {
      this.#failure = diskError(error, `partial ${this.digest}`)
      throw this.#failure
    }
  }

  /** Until nothing of this blob is being written. */
  async #settle(): Promise<void> {
    await this.#schedule.stop()
    await this.#checkpoints
    await Promise.allSettled(this.#writes.values())
  }

  async #leaveForLater(): Promise<void> {
    await Promise.allSettled(this.#writes.values())
    const isWorthKeeping = this.#failure === undefined && this.bitfield.some((byte) => byte !== 0)
    if (!isWorthKeeping) return await this.#discardNow()
    await this.#schedule.stop()
    await this.#checkpointQuietly()
    await this.#digester.stop()
    this.#parts.onRelease()
  }

  async #discardNow(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'discarded'
    await this.#settle()
    await this.#digester.stop()
    try {
      await rm(this.#parts.bitfieldPath, { force: true })
      await rm(this.#parts.path, { force: true })
    } finally {
      this.#parts.onRelease()
    }
  }

  #assertWritable(): void {
    if (this.#state !== 'open') throw new TypeError(`partial ${this.digest} is ${this.#state}`)
    if (this.#failure !== undefined) throw this.#failure
  }

  #lengthOf(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.pieceCount) {
      throw new TypeError(`piece ${index} of ${this.pieceCount}`)
    }
    return Math.min(this.pieceLength, this.size - index * this.pieceLength)
  }

  #assertPieceLength(index: number, length: number): void {
    const wanted = this.#lengthOf(index)
    if (length === wanted) return
    throw new OperationError(
      'BLOB_SIZE_MISMATCH',
      `piece ${index} of ${this.digest}: wanted ${wanted} bytes, got ${length}`,
      { details: { wantedBytes: wanted, foundBytes: length } },
    )
  }
}
