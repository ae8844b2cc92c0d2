/** Runs the same work once when it is asked for several times at once, keyed by a string. */
export class SingleFlight<Result> {
  readonly #running = new Map<string, Promise<Result>>()

  /** Joins the running work of `key`, or starts `work`. Forgets it when it has settled. */
  run(key: string, work: () => Promise<Result>): Promise<Result> {
    const joined = this.#running.get(key)
    if (joined) return joined
    const started = work().finally(() => this.#running.delete(key))
    this.#running.set(key, started)
    return started
  }
}
