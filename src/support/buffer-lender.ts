import { BufferPool } from './buffer-pool.ts'

const LEASE = Symbol('lease')

interface Lease {
  users: number
  readonly buffer: Buffer
  readonly pool: BufferPool
}

type LentBuffer = ArrayBufferLike & { [LEASE]?: Lease }

/**
 * Buffers with several users at once, which are used again when the last of them has released it. A user that forgets
 * to, or fails before, does no harm: the collector takes the buffer, and nobody is given it a second time.
 */
export class BufferLender {
  readonly #pool: BufferPool

  /** @param options.maxBytes how much may lie idle */
  constructor(options: { maxBytes: number }) {
    this.#pool = new BufferPool(options)
  }

  /** A buffer of exactly `length` bytes, with whatever was in it. Its taker is its first user. */
  lend(length: number): Buffer {
    const buffer = this.#pool.take(length)
    const lent: LentBuffer = buffer.buffer
    lent[LEASE] = { users: 1, buffer, pool: this.#pool }
    return buffer
  }
}

/** One more user of a buffer that `bytes` are part of. Without effect on buffers that were not lent. */
export function hold(bytes: Uint8Array): void {
  const lease = (bytes.buffer as LentBuffer)[LEASE]
  if (lease) lease.users += 1
}

/** One user less: it must not look at `bytes` any more. Without effect on buffers that were not lent. */
export function release(bytes: Uint8Array): void {
  const lent: LentBuffer = bytes.buffer
  const lease = lent[LEASE]
  if (!lease) return
  lease.users -= 1
  if (lease.users > 0) return
  delete lent[LEASE]
  lease.pool.give(lease.buffer)
}
