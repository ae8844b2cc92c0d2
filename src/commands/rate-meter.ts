const WINDOW_MS = 3000

/** Bytes per second over the last moments, from totals that only grow. */
export class RateMeter {
  readonly #samples: { readonly atMs: number; readonly total: number }[] = []

  add(total: number, atMs: number): void {
    this.#samples.push({ atMs, total })
    this.#forget(atMs)
  }

  /** Falls to 0 when nothing comes any more. */
  bytesPerSecond(nowMs: number): number {
    this.#forget(nowMs)
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || !last || nowMs <= first.atMs) return 0
    return ((last.total - first.total) * 1000) / (nowMs - first.atMs)
  }

  /** Keeps one sample from before the window, so that it is covered whole. */
  #forget(nowMs: number): void {
    while (this.#samples.length > 1 && (this.#samples[1]?.atMs ?? nowMs) < nowMs - WINDOW_MS) {
      this.#samples.shift()
    }
  }
}
