import { pause } from '../support/pause.ts'

/** One body that comes from upstream. */
export interface Stream {
  /** the smallest goes first */
  rank: () => number
  lastByteAtMs: number
}

// A stream that has the right of way but brings nothing for this long lets the others pass.
const IDLE_MS = 150
const LOOK_AGAIN_MS = 50
// Longer than this nothing waits in one go: registries and clients give up connections on which nothing moves.
const MAX_WAIT_MS = 20_000
// One stream may be slower than the link. For a moment a second one runs freely; if all of them together are
// that much faster, it stays free. If not, the next try is twice as far away: it costs the lowest layer its time.
const PROBE_EVERY_MS = 3000
const MAX_PROBE_EVERY_MS = 60_000
const PROBE_MS = 600
// What waited in the buffers of a stream that is let go comes at once, and says nothing of the link.
const SETTLE_MS = 300
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
  #waiting = 0
  #bytes = 0
  /** what comes is counted from here on */
  #mark = { atMs: 0, bytes: 0 }
  /** bytes per ms before the probe that goes on */
  #before: number | undefined
  #probeEveryMs = PROBE_EVERY_MS
  #change = Promise.withResolvers<void>()
  readonly #nowMs: () => number

  constructor({ nowMs = () => performance.now() }: { nowMs?: () => number } = {}) {
    this.#nowMs = nowMs
  }

  /** Registers a stream; call the result when it has ended. */
  add(rank: () => number): { stream: Stream; end: () => void } {
    const stream: Stream = { rank, lastByteAtMs: this.#nowMs() }
    if (this.#streams.size === 0) this.#begin()
    this.#streams.add(stream)
    return {
      stream,
      end: () => {
        this.#streams.delete(stream)
        this.#wake()
      },
    }
  }

  /** Whether others go before this stream now. */
  mustWait(stream: Stream): boolean {
    return this.#streams.size > 1 && !this.#mayRead(stream, this.#nowMs())
  }

  /**
   * Notes bytes that came, and waits until more of this stream may be read: it is its turn, or it has waited for 20 s
   * and may bring one more chunk.
   * @returns ms that it waited
   */
  async pass(stream: Stream, bytes: number, signal: AbortSignal): Promise<number> {
    const nowMs = this.#nowMs()
    stream.lastByteAtMs = nowMs
    this.#bytes += bytes
    if (this.#streams.size === 1) return 0
    this.#measure(nowMs)
    if (this.#mayRead(stream, nowMs)) return 0
    this.#waiting += 1
    try {
      while (
        !signal.aborted &&
        !this.#mayRead(stream, this.#nowMs()) &&
        this.#nowMs() - nowMs < MAX_WAIT_MS
      ) {
        await Promise.race([this.#change.promise, pause(LOOK_AGAIN_MS, signal)])
      }
    } finally {
      this.#waiting -= 1
    }
    return this.#nowMs() - nowMs
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

  /** Nothing is known of a link until it is used: between two pulls nothing came because nothing was asked for. */
  #begin(): void {
    this.#free = 1
    this.#probeEveryMs = PROBE_EVERY_MS
    this.#endProbe()
  }

  /** Tries from time to time whether one stream more brings more. */
  #measure(nowMs: number): void {
    const passedMs = nowMs - this.#mark.atMs
    if (this.#before === undefined) {
      if (this.#waiting === 0 || this.#free >= MAX_FREE || passedMs < this.#probeEveryMs) return
      this.#before = this.#rate(nowMs)
      this.#free += 1
      this.#mark = { atMs: nowMs + SETTLE_MS, bytes: Infinity }
      this.#wake()
    } else if (this.#mark.bytes === Infinity) {
      if (passedMs >= 0) this.#mark = { atMs: nowMs, bytes: this.#bytes }
    } else if (passedMs >= PROBE_MS) {
      const isWorthIt = this.#rate(nowMs) >= this.#before * WORTH_IT
      if (!isWorthIt) this.#free -= 1
      this.#probeEveryMs = isWorthIt
        ? PROBE_EVERY_MS
        : Math.min(2 * this.#probeEveryMs, MAX_PROBE_EVERY_MS)
      this.#endProbe()
    }
  }

  #endProbe(): void {
    this.#before = undefined
    this.#mark = { atMs: this.#nowMs(), bytes: this.#bytes }
  }

  /** bytes per ms since the mark */
  #rate(nowMs: number): number {
    return (this.#bytes - this.#mark.bytes) / (nowMs - this.#mark.atMs)
  }

  #wake(): void {
    const { resolve } = this.#change
    this.#change = Promise.withResolvers<void>()
    resolve()
  }
}
