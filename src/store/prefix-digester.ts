import { Digester, type Digest } from '../oci/digest.ts'

const READ_BYTES = 1024 * 1024

/** What the digester follows: a file in which pieces appear in any order. */
export interface GrowingBlob {
  readonly size: number
  readonly pieceLength: number
  hasPiece(index: number): boolean
  /** Fills `buffer` from `offset`; its pieces are there. */
  readInto(buffer: Uint8Array, offset: number): Promise<void>
}

/**
 * The SHA-256 of a blob whose pieces arrive in any order.
 *
 *   pieces   ████████████████░░░░████░░████
 *   hashed   ───────▶ offset
 *                    ├──────▶ catches up from the file, one read at a time
 *
 * A piece that arrives just at the offset is hashed from memory. Pieces that came earlier are read back (from the
 * page cache, as a rule) by one chain of reads that nobody waits for but {@link finish}.
 */
export class PrefixDigester {
  readonly #blob: GrowingBlob
  readonly #digester = new Digester()
  #catchingUp: Promise<void> | undefined
  #failure: unknown
  #isStopped = false
  #digest: Digest | undefined
  #buffer: Buffer | undefined

  constructor(blob: GrowingBlob) {
    this.#blob = blob
  }

  /** Takes note of a piece that is now in the file. @param bytes the piece; not kept */
  onPiece(index: number, bytes: Uint8Array): void {
    const isNext = index * this.#blob.pieceLength === this.#digester.bytes
    if (isNext && !this.#catchingUp && !this.#isStopped) this.#digester.update(bytes)
    this.catchUp()
  }

  /** Starts to hash what is in the file behind the offset, unless that is under way. */
  catchUp(): void {
    if (this.#catchingUp || this.#isStopped || this.#readableBytes() === 0) return
    this.#failure = undefined
    this.#catchingUp = this.#readOn().finally(() => {
      this.#catchingUp = undefined
    })
  }

  /**
   * The digest of the whole, when all pieces are in the file.
   * @throws what reading the file threw; another call tries again from there
   */
  async finish(): Promise<Digest> {
    if (this.#digest) return this.#digest
    this.catchUp()
    while (this.#catchingUp) {
      await this.#catchingUp
      // a piece may have come just when the chain of reads had found its end
      if (this.#failure === undefined) this.catchUp()
    }
    if (this.#failure !== undefined) throw this.#failure
    if (this.#digester.bytes !== this.#blob.size) {
      throw new TypeError(`hashed ${this.#digester.bytes} of ${this.#blob.size} bytes`)
    }
    this.#digest = this.#digester.digest()
    this.#buffer = undefined
    return this.#digest
  }

  /** Reads no more; returns when the last read has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#catchingUp
  }

  /** Never rejects: a failure waits for {@link finish}. */
  async #readOn(): Promise<void> {
    const buffer = (this.#buffer ??= Buffer.allocUnsafe(Math.min(READ_BYTES, this.#blob.size)))
    try {
      for (let length = this.#readableBytes(); length > 0; length = this.#readableBytes()) {
        const bytes = buffer.subarray(0, length)
        await this.#blob.readInto(bytes, this.#digester.bytes)
        this.#digester.update(bytes)
      }
    } catch (error) {
      this.#failure = error
    }
  }

  /** How many bytes behind the offset can be read in one go. */
  #readableBytes(): number {
    const { size, pieceLength } = this.#blob
    const offset = this.#digester.bytes
    const index = Math.floor(offset / pieceLength)
    if (this.#isStopped || offset >= size || !this.#blob.hasPiece(index)) return 0
    const endOfPiece = Math.min(size, (index + 1) * pieceLength)
    return Math.min(READ_BYTES, endOfPiece - offset)
  }
}
