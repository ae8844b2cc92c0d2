/** What no distributor can beat. Bytes and bytes per second of goodput throughout; results in seconds. */

/** A crowd: one seed sends a blob to nodes that send it on to each other. */
export interface Crowd {
  readonly bytes: number
  /** upload of the seed */
  readonly seedUp: number
  /** upload of every node */
  readonly up: readonly number[]
  /** download of every node */
  readonly down: readonly number[]
}

/**
 * The fluid bound on the slowest node (Kumar & Ross, HotWeb 2006): the seed must send every byte once, the slowest
 * node must take every byte, and all uplinks together must send every byte to every node. Holds always.
 */
export function fluidSeconds({ bytes, seedUp, up, down }: Crowd): number {
  const allUp = seedUp + up.reduce((sum, rate) => sum + rate, 0)
  return Math.max(bytes / seedUp, bytes / Math.min(...down), (up.length * bytes) / allUp)
}

/**
 * The piece bound for equal links (Mundinger, Weber & Weiss, J. Scheduling 2008): the last piece that leaves the
 * seed still has to double its way to all nodes. Tighter than the fluid bound.
 */
export function pieceSeconds(options: {
  bytes: number
  /** of every link, both ways */
  rate: number
  nodes: number
  pieces: number
}): number {
  const { bytes, rate, nodes, pieces } = options
  return (bytes / rate) * (1 + Math.floor(Math.log2(nodes)) / pieces)
}

/** Without peers: every node takes the whole from the seed. */
export function starSeconds({ bytes, seedUp, up, down }: Crowd): number {
  return Math.max((up.length * bytes) / seedUp, bytes / Math.min(...down))
}
