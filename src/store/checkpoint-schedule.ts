const INTERVAL_MS = 1000
const BYTES = 16 * 1024 * 1024

/**
 * When to make new pieces durable: a second after the first of them, or at once with 16 MiB of them. One
 * checkpoint at a time; nobody who writes pieces waits for it.
 */
export class CheckpointSchedule {
  readonly #checkpoint: () => Promise<void>
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #isStopped = false

  /** @param checkpoint never rejects */
  constructor(checkpoint: () => Promise<void>) {
    this.#checkpoint = checkpoint
  }

  onPiece(bytes: number): void {
    this.#bytes += bytes
    this.#plan()
  }

  /** Starts none any more; returns when the one under way has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    await this.#running
  }

  #plan(): void {
    if (this.#isStopped || this.#running || this.#bytes === 0) return
    if (this.#bytes >= BYTES) this.#start()
    else this.#timer ??= setTimeout(() => this.#start(), INTERVAL_MS).unref()
  }

  #start(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#bytes = 0
    this.#running = this.#checkpoint().finally(() => {
      this.#running = undefined
      this.#plan()
    })
  }
}
