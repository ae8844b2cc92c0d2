import { createHash, type Hash } from 'node:crypto'

/** Takes the bytes of a blob in order and tells the SHA-1 of every piece (BEP 3, `pieces`). */
export class PieceDigester {
  readonly #pieceLength: number
  readonly #hashes: Buffer[] = []
  #hash: Hash = createHash('sha1')
  #bytesInPiece = 0

  /** @param pieceLength bytes of every piece but the last */
  constructor(pieceLength: number) {
    if (!Number.isSafeInteger(pieceLength) || pieceLength < 1) {
      throw new TypeError(`pieceLength: wanted a positive whole number, found ${pieceLength}`)
    }
    this.#pieceLength = pieceLength
  }

  update(chunk: Uint8Array): void {
    for (let start = 0; start < chunk.length;) {
      const end = Math.min(chunk.length, start + this.#pieceLength - this.#bytesInPiece)
      this.#hash.update(chunk.subarray(start, end))
      this.#bytesInPiece += end - start
      start = end
      if (this.#bytesInPiece === this.#pieceLength) this.#endPiece()
    }
  }

  /** 20 bytes for every piece; call once, after the last byte. */
  digest(): Buffer {
    if (this.#bytesInPiece > 0) this.#endPiece()
    return Buffer.concat(this.#hashes)
  }

  #endPiece(): void {
    this.#hashes.push(this.#hash.digest())
    this.#hash = createHash('sha1')
    this.#bytesInPiece = 0
  }
}
