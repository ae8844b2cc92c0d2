import type { ChunkStore } from 'webtorrent'

import type { Forget, ReadBudget } from './read-budget.ts'
import type { BlockReader, BlockRequest } from './upload-queue.ts'

/** Random access to verified bytes: a complete blob, or a partial one. */
export interface VerifiedBytes {
  readonly size: number
  read(offset: number, length: number): Promise<Buffer>
  /** Fills `bytes` from `offset`; without it, every read makes a buffer. */
  readInto?(bytes: Uint8Array, offset: number): Promise<void>
  hasPiece(index: number): boolean
}

/** Where the pieces of a download go, and from where they are given on. */
export interface PieceStore extends VerifiedBytes {
  readonly pieceCount: number
  /** BEP 3 bit order; a live view */
  readonly bitfield: Uint8Array
  /** Keeps a verified piece. `bytes` are free again when this returns. @throws OperationError DISK_FULL … */
  writePiece(index: number, bytes: Uint8Array): Promise<void>
}

interface Segment {
  readonly bytes: Promise<Buffer>
  /** who waits for it, or looks at it */
  readers: number
  isKept: boolean
  readonly forget: Forget
}

// One read serves this much: peers ask for neighbouring blocks one after the other.
const SEGMENT_BYTES = 256 * 1024
const MAX_SEGMENTS = 8

/**
 * Reads blocks for peers in segments, of which the last few are kept: one read of the disk for sixteen blocks.
 * Checks every index, offset and length: they come from strangers.
 */
export class BlockSource implements BlockReader {
  readonly #content: VerifiedBytes
  readonly #pieceLength: number
  readonly #budget: ReadBudget
  readonly #segments = new Map<number, Segment>()

  /** @param options.budget shared by all of a node */
  constructor(
    content: VerifiedBytes,
    { pieceLength, budget }: { pieceLength: number; budget: ReadBudget },
  ) {
    this.#content = content
    this.#pieceLength = pieceLength
    this.#budget = budget
  }

  hasPiece(index: number): boolean {
    const isInside =
      Number.isInteger(index) && index >= 0 && index * this.#pieceLength < this.#content.size
    return isInside && this.#content.hasPiece(index)
  }

  async readBlock(
    { index, offset, length }: BlockRequest,
    onBlock: (bytes: Uint8Array) => void,
  ): Promise<void> {
    const pieceEnd = Math.min((index + 1) * this.#pieceLength, this.#content.size)
    const start = index * this.#pieceLength + offset
    if (!this.hasPiece(index) || offset < 0 || length <= 0 || start + length > pieceEnd) {
      throw new RangeError(`no block at piece ${index}, offset ${offset}, length ${length}`)
    }
    const number = Math.floor(start / SEGMENT_BYTES)
    if (Math.floor((start + length - 1) / SEGMENT_BYTES) !== number) {
      onBlock(await this.#content.read(start, length))
      return
    }
    const segment = this.#segment(number, index)
    segment.readers += 1
    try {
      const bytes = await segment.bytes
      const from = start - number * SEGMENT_BYTES
      onBlock(bytes.subarray(from, from + length))
    } finally {
      segment.readers -= 1
      this.#giveBack(segment)
    }
  }

  /** A segment lies inside one piece: both are powers of two, and a segment is the smaller. */
  #segment(number: number, index: number): Segment {
    const kept = this.#segments.get(number)
    if (kept) return kept
    const start = number * SEGMENT_BYTES
    const pieceEnd = Math.min((index + 1) * this.#pieceLength, this.#content.size)
    const bytes = this.#read(start, Math.min(SEGMENT_BYTES, pieceEnd - start))
    const forget = () => this.#forget(number, segment)
    const segment: Segment = { bytes, readers: 0, isKept: true, forget }
    this.#segments.set(number, segment)
    this.#budget.keep(forget)
    bytes.catch(forget)
    const [oldest] = this.#segments.values()
    if (this.#segments.size > MAX_SEGMENTS) oldest?.forget()
    return segment
  }

  async #read(start: number, length: number): Promise<Buffer> {
    return this.#budget.read(async () => {
      if (!this.#content.readInto) return this.#content.read(start, length)
      const bytes = this.#budget.buffers.take(length)
      await this.#content.readInto(bytes, start)
      return bytes
    })
  }

  #forget(number: number, segment: Segment): void {
    if (this.#segments.get(number) === segment) this.#segments.delete(number)
    if (!segment.isKept) return
    segment.isKept = false
    this.#budget.release(segment.forget)
    this.#giveBack(segment)
  }

  /** Its buffer is used again when nobody may look at it any more. */
  #giveBack(segment: Segment): void {
    if (segment.isKept || segment.readers > 0 || !this.#content.readInto) return
    segment.bytes.then(
      (bytes) => this.#budget.buffers.give(bytes),
      () => {},
    )
  }
}

/** What webtorrent wants for a store; blocks are read and pieces written elsewhere, so it is never asked. */
export function unusedChunkStore(chunkLength: number): ChunkStore {
  const refuse = new Error('blocks are served by UploadQueue, pieces kept by BlobDownload')
  return {
    chunkLength,
    get: (_index, _options, onBytes) => onBytes(refuse),
    put: (_index, _bytes, onDone) => onDone(refuse),
    close: (onDone) => onDone(null),
    destroy: (onDone) => onDone(null),
  }
}
