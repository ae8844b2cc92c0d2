import type { ChunkStore } from 'webtorrent'

import type { BlockReader } from './upload-queue.ts'

/** Random access to verified bytes: a complete blob, or a partial one. */
export interface VerifiedBytes {
  readonly size: number
  read(offset: number, length: number): Promise<Buffer>
  hasPiece(index: number): boolean
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
  readonly #segments = new Map<number, Promise<Buffer>>()

  constructor(content: VerifiedBytes, { pieceLength }: { pieceLength: number }) {
    this.#content = content
    this.#pieceLength = pieceLength
  }

  hasPiece(index: number): boolean {
    const isInside =
      Number.isInteger(index) && index >= 0 && index * this.#pieceLength < this.#content.size
    return isInside && this.#content.hasPiece(index)
  }

  async readBlock(index: number, offset: number, length: number): Promise<Uint8Array> {
    const pieceEnd = Math.min((index + 1) * this.#pieceLength, this.#content.size)
    const start = index * this.#pieceLength + offset
    if (!this.hasPiece(index) || offset < 0 || length <= 0 || start + length > pieceEnd) {
      throw new RangeError(`no block at piece ${index}, offset ${offset}, length ${length}`)
    }
    const segment = Math.floor(start / SEGMENT_BYTES)
    if (Math.floor((start + length - 1) / SEGMENT_BYTES) !== segment)
      return this.#content.read(start, length)
    const bytes = await this.#segment(segment, index)
    return bytes.subarray(start - segment * SEGMENT_BYTES, start - segment * SEGMENT_BYTES + length)
  }

  /** A segment lies inside one piece: both are powers of two, and a segment is the smaller. */
  #segment(segment: number, index: number): Promise<Buffer> {
    const kept = this.#segments.get(segment)
    if (kept) return kept
    const start = segment * SEGMENT_BYTES
    const pieceEnd = Math.min((index + 1) * this.#pieceLength, this.#content.size)
    const reading = this.#content.read(start, Math.min(SEGMENT_BYTES, pieceEnd - start))
    this.#segments.set(segment, reading)
    reading.catch(() => this.#segments.delete(segment))
    const [oldest] = this.#segments.keys()
    if (this.#segments.size > MAX_SEGMENTS && oldest !== undefined) this.#segments.delete(oldest)
    return reading
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
