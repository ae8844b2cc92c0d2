/**
 * Buffers that are used again: large ones are dear to make, as each is fresh pages from the system, and count
 * against the collector until it runs. Whoever takes one owns it until it is given back, once. Where no more may lie
 * idle, the length that was not used for longest makes room.
 */
export class BufferPool {
  readonly #maxBytes: number
  /** by length; the one that was used last is last, none is empty */
  readonly #free = new Map<number, Buffer[]>()
  #freeBytes = 0

  /** @param options.maxBytes how much may lie idle */
  constructor({ maxBytes }: { maxBytes: number }) {
    this.#maxBytes = maxBytes
  }

  /** A buffer of exactly `length` bytes, with whatever was in it. */
  take(length: number): Buffer {
    const free = this.#free.get(length)
    const buffer = free?.pop()
    if (!free || !buffer) return Buffer.allocUnsafeSlow(length)
    this.#free.delete(length)
    if (free.length > 0) this.#free.set(length, free)
    this.#freeBytes -= length
    return buffer
  }

  give(buffer: Buffer): void {
    const { length } = buffer
    for (const [other, unused] of this.#free) {
      if (this.#freeBytes + length <= this.#maxBytes || other === length) break
      const excess = this.#freeBytes + length - this.#maxBytes
      this.#freeBytes -= other * unused.splice(0, Math.ceil(excess / other)).length
      if (unused.length === 0) this.#free.delete(other)
    }
    if (this.#freeBytes + length > this.#maxBytes) return
    const free = this.#free.get(length) ?? []
    free.push(buffer)
    this.#free.set(length, free)
    this.#freeBytes += length
  }
}
