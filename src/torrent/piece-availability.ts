import type Wire from 'bittorrent-protocol'

/** How many connected peers have each piece, kept up to date message by message. */
export class PieceAvailability {
  readonly #counts: Uint16Array

  constructor(pieceCount: number) {
    this.#counts = new Uint16Array(pieceCount)
  }

  of(index: number): number {
    return this.#counts[index] ?? 0
  }

  /** A peer got one more piece. */
  onHave(index: number): void {
    this.#add(index, 1)
  }

  /** A peer said all it has: once per wire, before any single piece. */
  onBitfield(wire: Wire): void {
    this.#addAll(wire, 1)
  }

  /** A peer is gone with all it had. */
  onGone(wire: Wire): void {
    this.#addAll(wire, -1)
  }

  #addAll(wire: Wire, step: 1 | -1): void {
    for (let index = 0; index < this.#counts.length; index += 1) {
      if (wire.peerPieces.get(index)) this.#add(index, step)
    }
  }

  #add(index: number, step: 1 | -1): void {
    const count = this.#counts[index]
    if (count !== undefined) this.#counts[index] = Math.max(0, count + step)
  }
}
