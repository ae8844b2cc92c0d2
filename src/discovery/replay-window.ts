/** How far the time of a datagram may be from ours, either way: clocks may differ by as much. */
export const REPLAY_WINDOW_SECONDS = 60

// 700 datagrams a second for three windows. measured: 9 MB when full.
const MAX_NONCES = 2 ** 17

/**
 * Takes each nonce once. Those of one second lie together, and are forgotten when nobody could use them
 * any more: that needs less than a cache with an age for each, and forgetting takes no harm. Where there is
 * no room for all, the oldest seconds are closed rather than opened again: late datagrams are lost, none
 * is taken twice.
 */
export class ReplayWindow {
  readonly #noncesBySecond = new Map<number, Set<string>>()
  readonly #maxNonces: number
  #nonceCount = 0
  #cleanedAt = 0
  #closedUntil = Number.NEGATIVE_INFINITY

  constructor({ maxNonces = MAX_NONCES }: { maxNonces?: number } = {}) {
    this.#maxNonces = maxNonces
  }

  /** Nonces that are remembered. */
  get size(): number {
    return this.#nonceCount
  }

  /** Whether it is new and of now. @param seconds when it was made, by the clock of its maker */
  take(nonce: string, seconds: number, nowSeconds: number): boolean {
    if (Math.abs(nowSeconds - seconds) > REPLAY_WINDOW_SECONDS) return false
    this.#clean(nowSeconds)
    if (seconds <= this.#closedUntil) return false
    const nonces = this.#noncesBySecond.get(seconds) ?? new Set()
    if (nonces.has(nonce)) return false
    this.#noncesBySecond.set(seconds, nonces.add(nonce))
    this.#nonceCount += 1
    while (this.#nonceCount > this.#maxNonces) this.#closeOldest()
    return true
  }

  #clean(nowSeconds: number): void {
    if (nowSeconds === this.#cleanedAt) return
    this.#cleanedAt = nowSeconds
    // One window longer than needed: our clock may be set back by as much.
    const oldest = nowSeconds - 2 * REPLAY_WINDOW_SECONDS
    for (const seconds of this.#noncesBySecond.keys()) if (seconds < oldest) this.#forget(seconds)
    // After a larger step backwards the closed seconds lie in the future: nothing would be taken until then.
    if (this.#closedUntil > nowSeconds + REPLAY_WINDOW_SECONDS) {
      this.#closedUntil = Number.NEGATIVE_INFINITY
    }
  }

  #closeOldest(): void {
    const oldest = Math.min(...this.#noncesBySecond.keys())
    this.#forget(oldest)
    this.#closedUntil = Math.max(this.#closedUntil, oldest)
  }

  #forget(seconds: number): void {
    this.#nonceCount -= this.#noncesBySecond.get(seconds)?.size ?? 0
    this.#noncesBySecond.delete(seconds)
  }
}
