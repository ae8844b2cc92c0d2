// Less than what is kept in memory of a blob on its way, with room for what is being written.
const AHEAD_BYTES = 1024 * 1024
const PATIENCE_MS = 20
const IGNORED_BYTES = 4 * 1024 * 1024

/**
 * How far whoever brings a blob is ahead of those who read it. A reader that can follow takes the bytes from memory;
 * bytes that are brought much sooner have to be read back, and take the processor from the reader that waits for
 * these. One that cannot follow costs next to nothing: 20 ms for every 4 MiB.
 */
export class ReaderPace {
  #foremost = 0
  #ignoredUntil = 0
  #onTaken: (() => void) | undefined

  /** A reader took all bytes up to `offset`. */
  onTaken(offset: number): void {
    if (offset <= this.#foremost) return
    this.#foremost = offset
    this.#onTaken?.()
  }

  /** What was taken was not the blob. */
  restart(): void {
    this.#foremost = 0
    this.#ignoredUntil = 0
  }

  /** With everything up to `offset` here: waits until the foremost reader has come near, but not for long. */
  async follow(offset: number): Promise<void> {
    if (this.#isNear(offset) || offset < this.#ignoredUntil) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#ignoredUntil = offset + IGNORED_BYTES
      resolve()
    }, PATIENCE_MS)
    this.#onTaken = () => {
      if (this.#isNear(offset)) resolve()
    }
    await promise
    clearTimeout(timer)
    this.#onTaken = undefined
  }

  #isNear(offset: number): boolean {
    return offset - this.#foremost <= AHEAD_BYTES
  }
}
