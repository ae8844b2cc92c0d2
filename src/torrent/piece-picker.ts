/** What the choice of the next piece depends on; all by piece index. */
export interface PickerView {
  readonly pieceCount: number
  /** first piece that is not here: what a reader in order waits for */
  readonly cursor: number
  /** pieces behind the cursor that come before all others */
  readonly window: number
  /** neither here nor in progress */
  isWanted(index: number): boolean
  /** whether the peer that is asked has it */
  isOffered(index: number): boolean
  /** how many connected peers have it */
  availability(index: number): number
  /** 0 to 1; breaks ties, so that nodes that ask at once do not choose alike */
  random(): number
}

/**
 * The next piece to ask a peer for, or -1: the one at the cursor, so that bytes flow in order; else the
 * rarest in the window; else the rarest of all. Pieces that few have spread first, so nobody ends up waiting
 * for the same last holder (Legout et al., IMC 2006), and the window keeps readers fed meanwhile.
 */
export function pickPiece(view: PickerView): number {
  const { cursor, window, pieceCount } = view
  if (cursor < pieceCount && view.isWanted(cursor) && view.isOffered(cursor)) return cursor
  const near = Math.min(pieceCount, cursor + window)
  const rarestNear = pickRarest(view, cursor, near)
  return rarestNear >= 0 ? rarestNear : pickRarest(view, near, pieceCount)
}

function pickRarest(view: PickerView, from: number, to: number): number {
  let best = -1
  let bestRank = Infinity
  for (let index = from; index < to; index += 1) {
    if (!view.isWanted(index) || !view.isOffered(index)) continue
    const rank = view.availability(index) + view.random() * 0.9
    if (rank < bestRank) {
      best = index
      bestRank = rank
    }
  }
  return best
}

// Requests that cover this much time keep a link busy across a round trip without queueing seconds of data.
const QUEUE_SECONDS = 0.25
const MIN_DEPTH = 16
const MAX_DEPTH = 256

/** How many blocks to have outstanding at a peer, from what it sends and what it says it takes (BEP 10, reqq). */
export function requestDepth(options: {
  /** of this peer, lately */
  bytesPerSecond: number
  blockBytes: number
  /** what the peer says it takes */
  limit?: number
}): number {
  const { bytesPerSecond, blockBytes, limit = MAX_DEPTH } = options
  const wanted = Math.ceil((bytesPerSecond * QUEUE_SECONDS) / blockBytes)
  return Math.max(1, Math.min(MAX_DEPTH, limit, Math.max(MIN_DEPTH, wanted)))
}
