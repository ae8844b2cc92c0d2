interface Entry<Value> {
  readonly value: Value
  readonly expiresAtMs: number
}

/** A map in memory with a bound: entries expire, and the one not asked for longest gives way. */
export class ExpiringMap<Value> {
  readonly #entries = new Map<string, Entry<Value>>()
  readonly #maxEntries: number
  readonly #nowMs: () => number

  constructor({ maxEntries, nowMs }: { maxEntries: number; nowMs: () => number }) {
    this.#maxEntries = maxEntries
    this.#nowMs = nowMs
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#entries.delete(key)
    if (entry.expiresAtMs <= this.#nowMs()) return undefined
    this.#entries.set(key, entry)
    return entry.value
  }

  set(key: string, value: Value, lifetimeMs: number): void {
    this.#entries.delete(key)
    this.#entries.set(key, { value, expiresAtMs: this.#nowMs() + lifetimeMs })
    const [oldest] = this.#entries.keys()
    if (this.#entries.size > this.#maxEntries && oldest !== undefined) this.#entries.delete(oldest)
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }
}
