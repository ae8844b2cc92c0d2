import { BLOCK_BYTES } from './piece-length.ts'

/** Who a block can be asked from; a wire, or anything in tests. */
export interface BlockPeer {
  /** silent for too long: what it was asked for may be asked elsewhere */
  isStalled: boolean
}

/**
 * One piece in progress: its buffer, filled in place, and who was asked for which block. A piece is asked from
 * one peer as long as that one delivers, so that a wrong piece has one culprit.
 */
export class PieceDownload<Peer extends BlockPeer> {
  readonly index: number
  readonly length: number
  readonly blockCount: number
  /** after a wrong piece with several contributors: only one peer may fill it */
  readonly isSoleSource: boolean
  /** who sent which block */
  readonly senders: (Peer | undefined)[]
  owner: Peer | undefined
  #bytes: Buffer | undefined
  #missing: number
  #nextFresh = 0
  readonly #received: Uint8Array
  readonly #asked: Peer[][]

  /** @param options.bytes where the piece is put together: its own until {@link takeBytes} */
  constructor(options: { index: number; bytes: Buffer; isSoleSource?: boolean }) {
    this.index = options.index
    this.length = options.bytes.length
    this.#bytes = options.bytes
    this.blockCount = Math.ceil(this.length / BLOCK_BYTES)
    this.isSoleSource = options.isSoleSource ?? false
    this.#missing = this.blockCount
    this.#received = new Uint8Array(this.blockCount)
    this.senders = Array.from({ length: this.blockCount })
    this.#asked = Array.from({ length: this.blockCount }, () => [])
  }

  /** Nothing of it is here. */
  get isEmpty(): boolean {
    return this.#missing === this.blockCount
  }

  get isComplete(): boolean {
    return this.#missing === 0
  }

  lengthOf(block: number): number {
    return Math.min(BLOCK_BYTES, this.length - block * BLOCK_BYTES)
  }

  /** The next block that nobody who delivers was asked for, or -1. */
  nextFree(): number {
    while (this.#nextFresh < this.blockCount && !this.#isFree(this.#nextFresh)) this.#nextFresh += 1
    return this.#nextFresh < this.blockCount ? this.#nextFresh : -1
  }

  /** The next block that is outstanding at somebody else, or -1: for the end of a download. */
  nextDuplicate(peer: Peer): number {
    return this.#asked.findIndex(
      (asked, block) => this.#received[block] === 0 && !asked.includes(peer),
    )
  }

  onAsked(block: number, peer: Peer): void {
    this.#asked[block]?.push(peer)
  }

  /** The request came to nothing: the block may be asked again. */
  onRefused(block: number, peer: Peer): void {
    const asked = this.#asked[block]
    const at = asked?.indexOf(peer) ?? -1
    if (at >= 0) asked?.splice(at, 1)
    this.#nextFresh = Math.min(this.#nextFresh, block)
  }

  /** Blocks asked from a silent peer become free for others. */
  onStalled(): void {
    this.#nextFresh = 0
  }

  /** Keeps a block. @returns whom else it was asked from, or undefined for a duplicate */
  onBlock(block: number, bytes: Uint8Array, peer: Peer): Peer[] | undefined {
    if (!this.#bytes || this.#received[block] !== 0) return undefined
    if (bytes.length !== this.lengthOf(block)) return undefined
    this.#bytes.set(bytes, block * BLOCK_BYTES)
    this.#received[block] = 1
    this.#missing -= 1
    this.senders[block] = peer
    const others = (this.#asked[block] ?? []).filter((other) => other !== peer)
    this.#asked[block] = []
    return others
  }

  /** Ends the piece: its bytes go to the caller, and blocks that come late go nowhere. */
  takeBytes(): Buffer {
    const bytes = this.#bytes
    if (!bytes) throw new TypeError(`the bytes of piece ${this.index} were taken before`)
    this.#bytes = undefined
    return bytes
  }

  #isFree(block: number): boolean {
    if (this.#received[block] !== 0) return false
    return (this.#asked[block] ?? []).every((peer) => peer.isStalled)
  }
}
