import type Wire from 'bittorrent-protocol'

interface Leecher {
  readonly wire: Wire
  /** pieces shown to it that it does not have yet, with the bytes sent of each */
  readonly shown: Map<number, number>
  readonly told: Set<number>
  tellHave(index: number): void
}

interface OriginOptions {
  readonly pieceCount: number
  readonly pieceLength: number
  lengthOf(index: number): number
}

// With one leecher nothing is won by hiding pieces: it must only never wait for the next to be shown.
const MIN_SHOWN_ALONE = 8
const MIN_SHOWN = 2
const SHOWN_SECONDS = 0.25

/**
 * A holder of the whole blob shows each piece to one leecher, until every piece has left once; the leechers
 * give each other the rest (BEP 16, super-seeding). So a new blob leaves its first holder about once, whatever
 * the number of leechers. Only for our own nodes: other clients get the plain bitfield.
 */
export class OriginOnce {
  readonly #options: OriginOptions
  readonly #leechers = new Map<Wire, Leecher>()
  /** pieces that left, or that a leecher brought along */
  readonly #left: Uint8Array
  #leftCount = 0
  #next = 0
  readonly #returned: number[] = []

  constructor(options: OriginOptions) {
    this.#options = options
    this.#left = new Uint8Array(options.pieceCount)
  }

  get hasLeftOnce(): boolean {
    return this.#leftCount === this.#options.pieceCount
  }

  /** Takes over what a wire to one of our nodes is told of our pieces. */
  attach(wire: Wire): void {
    const haveNone = wire.haveNone.bind(wire)
    const haveAll = wire.haveAll.bind(wire)
    const begin = () => {
      if (this.hasLeftOnce || !wire.hasFast) {
        haveAll()
        return
      }
      haveNone()
      this.#begin(wire)
    }
    wire.haveAll = begin
  }

  #begin(wire: Wire): void {
    const leecher: Leecher = {
      wire,
      shown: new Map(),
      told: new Set(),
      tellHave: wire.have.bind(wire),
    }
    this.#leechers.set(wire, leecher)
    const piece = wire.piece.bind(wire)
    wire.piece = (index, offset, block) => {
      piece(index, offset, block)
      this.#onSent(leecher, index, block.length)
    }
    wire.on('have', (index: number) => this.#onHave(leecher, index))
    wire.on('bitfield', () => this.#onBitfield(leecher))
    wire.once('close', () => this.#onClose(leecher))
    this.#show(leecher)
  }

  #onSent(leecher: Leecher, index: number, bytes: number): void {
    const sent = leecher.shown.get(index)
    if (sent === undefined) return
    leecher.shown.set(index, sent + bytes)
    if (sent + bytes < this.#options.lengthOf(index)) return
    leecher.shown.delete(index)
    this.#onLeft(index)
    this.#show(leecher)
  }

  #onHave(leecher: Leecher, index: number): void {
    if (index < 0 || index >= this.#options.pieceCount) return
    leecher.shown.delete(index)
    this.#onLeft(index)
    this.#show(leecher)
  }

  /** It brought pieces along: they need not leave us first. */
  #onBitfield(leecher: Leecher): void {
    for (let index = 0; index < this.#options.pieceCount; index += 1) {
      if (leecher.wire.peerPieces.get(index)) this.#onHave(leecher, index)
    }
  }

  #onLeft(index: number): void {
    if (this.#left[index] !== 0) return
    this.#left[index] = 1
    this.#leftCount += 1
    if (this.hasLeftOnce) for (const leecher of this.#leechers.values()) this.#showAll(leecher)
  }

  #onClose(leecher: Leecher): void {
    this.#leechers.delete(leecher.wire)
    for (const index of leecher.shown.keys())
      if (this.#left[index] === 0) this.#returned.push(index)
    if (this.#leechers.size === 0) this.#startOver()
    else for (const other of this.#leechers.values()) this.#show(other)
  }

  /** The next crowd begins as the first one did. */
  #startOver(): void {
    this.#left.fill(0)
    this.#leftCount = 0
    this.#next = 0
    this.#returned.length = 0
  }

  #show(leecher: Leecher): void {
    if (this.hasLeftOnce) return
    const wanted = this.#shownAtOnce(leecher)
    while (leecher.shown.size < wanted) {
      const index = this.#takeNext(leecher)
      if (index < 0) return
      leecher.shown.set(index, 0)
      this.#tell(leecher, index)
    }
  }

  #shownAtOnce({ wire }: Leecher): number {
    const rateShare = (wire.uploadSpeed() * SHOWN_SECONDS) / this.#options.pieceLength
    const least = this.#leechers.size === 1 ? MIN_SHOWN_ALONE : MIN_SHOWN
    return Math.max(least, Math.ceil(rateShare))
  }

  #takeNext({ wire }: Leecher): number {
    const returned = this.#returned.findIndex((index) => !wire.peerPieces.get(index))
    if (returned >= 0) return this.#returned.splice(returned, 1)[0] ?? -1
    while (this.#next < this.#options.pieceCount) {
      const index = this.#next
      this.#next += 1
      if (this.#left[index] === 0) return index
    }
    return -1
  }

  #showAll(leecher: Leecher): void {
    for (let index = 0; index < this.#options.pieceCount; index += 1) this.#tell(leecher, index)
  }

  #tell(leecher: Leecher, index: number): void {
    if (leecher.told.has(index)) return
    leecher.told.add(index)
    leecher.tellHave(index)
  }
}
