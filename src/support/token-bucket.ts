/** Lets so many bytes a second pass, with a burst of at most a tenth of a second. */
export class TokenBucket {
  readonly #bytesPerSecond: number
  readonly #burst: number
  #tokens: number
  #filledAtMs: number

  constructor(bytesPerSecond: number, { nowMs = performance.now() }: { nowMs?: number } = {}) {
    this.#bytesPerSecond = bytesPerSecond
    this.#burst = Math.max(bytesPerSecond / 10, 64 * 1024)
    this.#tokens = this.#burst
    this.#filledAtMs = nowMs
  }

  /** Takes `bytes` if any token is there (what is over is owed): 0, or the ms after which to ask again. */
  take(bytes: number, nowMs: number = performance.now()): number {
    const refill = ((nowMs - this.#filledAtMs) / 1000) * this.#bytesPerSecond
    this.#tokens = Math.min(this.#burst, this.#tokens + refill)
    this.#filledAtMs = nowMs
    if (this.#tokens <= 0) return Math.max(1, (-this.#tokens / this.#bytesPerSecond) * 1000)
    this.#tokens -= bytes
    return 0
  }
}
