import { pause } from '../support/pause.ts'

/** One body that comes from upstream. */
export interface Stream {
  /** the smallest goes first */
  rank: () => number
  lastByteAtMs: number
  bytes: number
}

// A stream that has the right of way but brings nothing for this long lets the others pass.
const IDLE_MS = 150
const LOOK_AGAIN_MS = 50
// One stream may be slower than the link. For a moment a second one runs freely; if all of them together are
// that much faster, it stays free.
const PROBE_EVERY_MS = 3000
const PROBE_MS = 750
const WORTH_IT = 1.25
const MAX_FREE = 4

/**
 * Which of several bodies from upstream is read first. An engine unpacks layers in their order, so the lowest
 * layer gets the whole link and the next ones wait with full socket buffers: the pull is done as early as it
 * can be (a fair share for each would end all of them late). Where one connection cannot fill the link, more run.
 */
export class BandwidthOrder {
  readonly #streams = new Set<Stream>()
  #free = 1
  #mark = { atMs: 0, bytes: 0 }
  #probe: { sinceMs: number; bytes: number; before: number } | undefined
  #bytes = 0
  #change = Promise.withResolvers<void>()

  /** Registers a stream; call the result when it has ended. */
  add(rank: () => number): { stream: Stream; end: () => void } {
    const stream: Stream = { rank, lastByteAtMs: performance.now(), bytes: 0 }
    this.#streams.add(stream)
    return {
      stream,
      end: () => {
        this.#streams.delete(stream)
        this.#wake()
      },
    }
  }

  /** Notes bytes that came, and waits until more of this stream may be read. @returns ms that it waited */
  async pass(stream: Stream, bytes: number, signal: AbortSignal): Promise<number> {
    const nowMs = performance.now()
    stream.lastByteAtMs = nowMs
    stream.bytes += bytes
    this.#bytes += bytes
    if (this.#streams.size === 1) return 0
    this.#measure(nowMs)
    if (this.#mayRead(stream, nowMs)) return 0
    while (!signal.aborted && !this.#mayRead(stream, performance.now())) {
      await Promise.race([this.#change.promise, pause(LOOK_AGAIN_MS, signal)])
    }
    return performance.now() - nowMs
  }

  #mayRead(stream: Stream, nowMs: number): boolean {
    const rank = stream.rank()
    let ahead = 0
    for (const other of this.#streams) {
      if (other === stream || other.rank() >= rank) continue
      if (nowMs - other.lastByteAtMs < IDLE_MS) ahead += 1
    }
    return ahead < this.#free
  }

  /** Tries from time to time whether one stream more brings more. */
  #measure(nowMs: number): void {
    if (this.#probe) {
      const { sinceMs, bytes, before } = this.#probe
      if (nowMs - sinceMs < PROBE_MS) return
      const rate = (this.#bytes - bytes) / (nowMs - sinceMs)
      if (rate < before * WORTH_IT) this.#free = Math.max(1, this.#free - 1)
      this.#probe = undefined
      this.#mark = { atMs: nowMs, bytes: this.#bytes }
      return
    }
    if (this.#mark.atMs === 0 || nowMs - this.#mark.atMs > 4 * PROBE_EVERY_MS) {
      this.#mark = { atMs: nowMs, bytes: this.#bytes }
      return
    }
    if (nowMs - this.#mark.atMs < PROBE_EVERY_MS || this.#free >= MAX_FREE) return
    const before = (this.#bytes - this.#mark.bytes) / (nowMs - this.#mark.atMs)
    this.#probe = { sinceMs: nowMs, bytes: this.#bytes, before }
    this.#free += 1
    this.#wake()
  }

  #wake(): void {
    const { resolve } = this.#change
    this.#change = Promise.withResolvers<void>()
    resolve()
  }
}
