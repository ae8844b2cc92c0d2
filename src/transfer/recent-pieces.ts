import { hold, release } from '../support/buffer-lender.ts'
import type { PartialBlob } from '../store/blob-store.ts'
import type { ReadablePieces } from './readable-pieces.ts'

const MAX_BYTES = 2 * 1024 * 1024

/**
 * The pieces that came last, kept in memory for a moment: a client that keeps up with upstream is given the very
 * buffers that were written, and nothing is read back from the file for it.
 */
export class RecentPieces implements ReadablePieces {
  readonly size: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly #partial: PartialBlob
  readonly #pieces = new Map<number, Buffer>()
  #bytes = 0

  constructor(partial: PartialBlob) {
    this.#partial = partial
    this.size = partial.size
    this.pieceLength = partial.pieceLength
    this.pieceCount = partial.pieceCount
  }

  hasPiece(index: number): boolean {
    return this.#partial.hasPiece(index)
  }

  /** @param bytes nobody may change them any more until they are released */
  keep(index: number, bytes: Buffer): void {
    hold(bytes)
    this.#pieces.set(index, bytes)
    this.#bytes += bytes.length
    for (const [oldest, old] of this.#pieces) {
      if (this.#bytes <= MAX_BYTES) break
      this.#pieces.delete(oldest)
      this.#bytes -= old.length
      release(old)
    }
  }

  clear(): void {
    for (const bytes of this.#pieces.values()) release(bytes)
    this.#pieces.clear()
    this.#bytes = 0
  }

  kept(offset: number, length: number): Buffer | undefined {
    const index = Math.floor(offset / this.pieceLength)
    const start = offset - index * this.pieceLength
    const piece = this.#pieces.get(index)
    if (!piece || start + length > piece.length) return undefined
    hold(piece)
    return piece.subarray(start, start + length)
  }

  async readInto(bytes: Uint8Array, offset: number): Promise<void> {
    return this.#partial.readInto(bytes, offset)
  }
}
