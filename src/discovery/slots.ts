import { abortable } from '../support/deadline.ts'

/** At most so many at once; the others wait in line. */
export class Slots {
  #freeCount: number
  readonly #waiting: PromiseWithResolvers<void>[] = []

  constructor(count: number) {
    this.#freeCount = count
  }

  /**
   * Waits for a slot.
   * @returns gives it back; to be called once
   * @throws the reason of `signal`
   */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#freeCount > 0) this.#freeCount -= 1
    else await this.#waitInLine(signal)
    return () => this.#giveBack()
  }

  async #waitInLine(signal: AbortSignal): Promise<void> {
    const turn = Promise.withResolvers<void>()
    this.#waiting.push(turn)
    try {
      await abortable(turn.promise, signal)
    } catch (error) {
      const place = this.#waiting.indexOf(turn)
      if (place >= 0) this.#waiting.splice(place, 1)
      else this.#giveBack()
      throw error
    }
  }

  #giveBack(): void {
    const next = this.#waiting.shift()
    if (next) next.resolve()
    else this.#freeCount += 1
  }
}
