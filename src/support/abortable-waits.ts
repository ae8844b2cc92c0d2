type Ends<Result> = [resolve: (result: Result) => void, reject: (reason: unknown) => void]

/**
 * Many waits of one reader, one after the other, each given up when a signal fires. One listener serves them all:
 * a thousand readers with a listener per chunk spend more on those than on their chunks.
 */
export class AbortableWaits {
  readonly #signal: AbortSignal
  #giveUp: ((reason: unknown) => void) | undefined
  readonly #onAbort = (): void => this.#giveUp?.(this.#signal.reason)

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /**
   * What `work` brings. One call at a time.
   * @throws what `work` failed with; the reason of the signal, whatever becomes of `work`
   */
  wait<Result>(work: Promise<Result>): Promise<Result> {
    return this.settled((resolve, reject) => void work.then(resolve, reject))
  }

  /** The same for work that tells of its end by a call. */
  settled<Result>(work: (...ends: Ends<Result>) => void): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>()
    work(resolve, reject)
    if (this.#signal.aborted) reject(this.#signal.reason)
    else this.#giveUp = reject
    return promise
  }

  /** No call follows: the signal may live on without it. */
  end(): void {
    this.#signal.removeEventListener('abort', this.#onAbort)
  }
}
