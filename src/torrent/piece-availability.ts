/** A peer and the pieces that it says it has. */
interface Offerer {
  readonly peerPieces: { get(index: number): boolean }
}

/** How many connected peers have each piece, kept up to date message by message; each peer counts once. */
export class PieceAvailability {
  readonly #counts: Uint16Array
  /** 1: this peer is counted for this piece */
  readonly #counted = new Map<Offerer, Uint8Array>()

  constructor(pieceCount: number) {
    this.#counts = new Uint16Array(pieceCount)
  }

  of(index: number): number {
    return this.#counts[index] ?? 0
  }

  /** A peer got one more piece. */
  onHave(peer: Offerer, index: number): void {
    this.#count(this.#countedOf(peer), index, true)
  }

  /** A peer said all it has. */
  onBitfield(peer: Offerer): void {
    const counted = this.#countedOf(peer)
    for (let index = 0; index < this.#counts.length; index += 1)
      this.#count(counted, index, peer.peerPieces.get(index))
  }

  /** A peer is gone with all it had. */
  onGone(peer: Offerer): void {
    const counted = this.#countedOf(peer)
    for (let index = 0; index < this.#counts.length; index += 1) this.#count(counted, index, false)
    this.#counted.delete(peer)
  }

  #countedOf(peer: Offerer): Uint8Array {
    const counted = this.#counted.get(peer) ?? new Uint8Array(this.#counts.length)
    this.#counted.set(peer, counted)
    return counted
  }

  #count(counted: Uint8Array, index: number, has: boolean): void {
    const step = Number(has) - (counted[index] ?? Number(has))
    if (step === 0) return
    counted[index] = Number(has)
    this.#counts[index] = this.of(index) + step
  }
}
