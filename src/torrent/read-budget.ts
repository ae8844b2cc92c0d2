import type { BufferPool } from '../support/buffer-pool.ts'
import { Turns } from '../support/turns.ts'

/** Has the memory of something go, at most once. */
export type Forget = () => void

// 256 KiB each (block-source.ts): more would not make a disk any faster, and peers choose what is read.
const MAX_READING = 32
const MAX_KEPT = 48

/** What is read for peers may take this much of memory, for all blobs of a node together. */
export class ReadBudget {
  /** where it is read */
  readonly buffers: BufferPool
  readonly #reading = new Turns({ capacity: MAX_READING })
  /** what was kept first is first */
  readonly #kept = new Set<Forget>()

  constructor(buffers: BufferPool) {
    this.buffers = buffers
  }

  /** Reads when there is room for it. */
  async read<Result>(work: () => Promise<Result>): Promise<Result> {
    const endTurn = await this.#reading.take('')
    try {
      return await work()
    } finally {
      endTurn()
    }
  }

  /** Something is kept after it was read: what was kept for longest makes room. */
  keep(forget: Forget): void {
    this.#kept.add(forget)
    const [oldest] = this.#kept
    if (this.#kept.size <= MAX_KEPT || !oldest) return
    this.#kept.delete(oldest)
    oldest()
  }

  /** It is kept no more. */
  release(forget: Forget): void {
    this.#kept.delete(forget)
  }
}
