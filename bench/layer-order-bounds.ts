/** How long docker takes for layers that it downloads and then extracts, one after the other (moby, xfer/download.go). */

/** Seconds of one layer: alone on the link, and from archive to files. */
export interface LayerCost {
  readonly downloadSeconds: number
  readonly extractSeconds: number
}

const DOWNLOADS_AT_ONCE = 3

/** The link goes to the lowest layer that is not here yet: what no order can beat. */
export function orderedSeconds(layers: readonly LayerCost[]): number {
  let here = 0
  const arrivals = layers.map(({ downloadSeconds }) => (here += downloadSeconds))
  return extractedAt(layers, arrivals)
}

/** The link is shared by the downloads that are under way, as docker has them without a node. */
export function sharedSeconds(layers: readonly LayerCost[]): number {
  const left = layers.map(({ downloadSeconds }) => downloadSeconds)
  const arrivals = layers.map(() => 0)
  let now = 0
  for (let open = underWay(left); open.length > 0; open = underWay(left)) {
    const step = Math.min(...open.map((index) => left[index] ?? 0)) * open.length
    now += step
    for (const index of open) {
      const rest = (left[index] ?? 0) - step / open.length
      left[index] = rest < 1e-9 ? 0 : rest
      if (left[index] === 0) arrivals[index] = now
    }
  }
  return extractedAt(layers, arrivals)
}

/** The lowest layers that are still to come. */
function underWay(left: readonly number[]): number[] {
  return [...left.keys()].filter((index) => (left[index] ?? 0) > 0).slice(0, DOWNLOADS_AT_ONCE)
}

/** E(k) = max(E(k−1), D(k)) + x(k) */
function extractedAt(layers: readonly LayerCost[], arrivals: readonly number[]): number {
  return layers.reduce(
    (done, { extractSeconds }, index) => Math.max(done, arrivals[index] ?? 0) + extractSeconds,
    0,
  )
}
