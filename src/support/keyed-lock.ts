/** Runs work one after the other under one key, and side by side under different keys. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>()

  /** Waits for the work that was given before under `key`, then runs `work`. Its failure is the caller's alone. */
  async run<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#tails.get(key)
    const { promise: done, resolve: release } = Promise.withResolvers<void>()
    this.#tails.set(key, done)
    try {
      await before
      return await work()
    } finally {
      release()
      if (this.#tails.get(key) === done) this.#tails.delete(key)
    }
  }
}
