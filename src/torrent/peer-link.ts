import type Wire from 'bittorrent-protocol'

import type { BlockPeer, PieceDownload } from './piece-download.ts'
import { BLOCK_BYTES } from './piece-length.ts'
import { requestDepth } from './piece-picker.ts'

/** Who did something that it should not have done. */
export interface Culprit {
  readonly wire: Wire
  /** proven; undefined in the public swarm */
  readonly nodeId: string | undefined
}

// An offer that is not kept this often in a row is none.
const MAX_REFUSALS = 64

/** One connection that may deliver, and how it fares. */
export class PeerLink implements BlockPeer, Culprit {
  readonly wire: Wire
  readonly nodeId: string | undefined
  /** pieces this peer alone was asked for */
  readonly owned = new Set<PieceDownload<PeerLink>>()
  isStalled = false
  heardAtMs = Date.now()
  #refusals = 0

  constructor({ wire, nodeId }: Culprit) {
    this.wire = wire
    this.nodeId = nodeId
  }

  /** Whether it would answer a request. */
  get isUsable(): boolean {
    return !this.wire.destroyed && !this.wire.peerChoking && !this.isStalled
  }

  /** How many requests may be outstanding. */
  get depth(): number {
    const { wire } = this
    const said = wire.peerExtendedHandshake['reqq']
    return requestDepth({
      bytesPerSecond: wire.downloadSpeed(),
      blockBytes: BLOCK_BYTES,
      ...(typeof said === 'number' && said > 0 && { limit: said }),
    })
  }

  /** Since when nothing came of what was asked for, in ms; 0 while nothing is asked for. */
  silentMs(nowMs: number): number {
    return this.wire.requests.length === 0 ? 0 : nowMs - this.heardAtMs
  }

  onBlock(): void {
    this.#refusals = 0
  }

  /** @returns whether it is one too many: it offers what it does not give */
  onRefused(): boolean {
    if (this.wire.destroyed || this.wire.peerChoking) return false
    this.#refusals += 1
    return this.#refusals === MAX_REFUSALS
  }
}
