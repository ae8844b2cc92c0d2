/** How often something may happen. */
export interface Rate {
  readonly perSecond: number
  /** how much may come at once */
  readonly burst: number
}

/** A token bucket: lets through `burst` at once and `perSecond` in the long run. */
export class TokenBucket {
  readonly #rate: Rate
  #tokens: number
  #filledAtMs: number

  constructor(rate: Rate, nowMs: number) {
    this.#rate = rate
    this.#tokens = rate.burst
    this.#filledAtMs = nowMs
  }

  /** Takes one if there is one. */
  take(nowMs: number): boolean {
    if (this.waitMs(nowMs) > 0) return false
    this.#tokens -= 1
    return true
  }

  /** How long until there is one; 0 now. */
  waitMs(nowMs: number): number {
    const { perSecond, burst } = this.#rate
    const gained = (Math.max(0, nowMs - this.#filledAtMs) / 1000) * perSecond
    this.#tokens = Math.min(burst, this.#tokens + gained)
    this.#filledAtMs = nowMs
    return this.#tokens >= 1 ? 0 : Math.ceil(((1 - this.#tokens) / perSecond) * 1000)
  }
}
