import type Wire from 'bittorrent-protocol'

import type { PeerLink } from './peer-link.ts'

/** The connections of one download. */
export class PeerLinks {
  readonly #links = new Map<Wire, PeerLink>()

  get size(): number {
    return this.#links.size
  }

  /** Peers that could deliver now. */
  get usable(): number {
    return this.all().filter(({ wire }) => !wire.peerChoking).length
  }

  add(link: PeerLink): void {
    this.#links.set(link.wire, link)
  }

  remove(link: PeerLink): void {
    this.#links.delete(link.wire)
  }

  all(): PeerLink[] {
    return [...this.#links.values()]
  }

  /**
   * All pieces are here: nothing more is asked for. Two that have all have nothing to say to each other, and a member
   * may have only so many connections.
   */
  onComplete(pieceCount: number): void {
    for (const { wire } of this.all()) {
      if (wire.destroyed) continue
      if (hasAll(wire, pieceCount)) wire.destroy()
      else wire.uninterested()
    }
  }

  /** All of them, beginning anywhere: who is asked first has the choice of pieces. */
  fromAnywhere(random: () => number): PeerLink[] {
    const links = this.all()
    const start = Math.floor(random() * links.length)
    return [...links.slice(start), ...links.slice(0, start)]
  }
}

function hasAll({ peerPieces }: Wire, pieceCount: number): boolean {
  for (let index = 0; index < pieceCount; index += 1) if (!peerPieces.get(index)) return false
  return true
}
