/**
 * Buffers that are used again: large ones are dear to make, as each is fresh pages from the system, and count
 * against the collector until it runs. Whoever takes one owns it until it is given back, once.
 */
export class BufferPool {
  readonly #maxBytes: number
  readonly #free = new Map<number, Buffer[]>()
  #freeBytes = 0

  /** @param options.maxBytes how much may lie idle */
  constructor({ maxBytes }: { maxBytes: number }) {
    this.#maxBytes = maxBytes
  }

  /** A buffer of exactly `length` bytes, with whatever was in it. */
  take(length: number): Buffer {
    const buffer = this.#free.get(length)?.pop()
    if (!buffer) return Buffer.allocUnsafeSlow(length)
    this.#freeBytes -= length
    return buffer
  }

  give(buffer: Buffer): void {
    if (this.#freeBytes + buffer.length > this.#maxBytes) return
    const free = this.#free.get(buffer.length) ?? []
    free.push(buffer)
    this.#free.set(buffer.length, free)
    this.#freeBytes += buffer.length
  }
}
