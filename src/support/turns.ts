/** Ends a turn; once is enough. */
export type EndTurn = () => void

interface Lane {
  taken: number
  readonly waiting: (() => void)[]
}

/**
 * Lets each of many do so many things at a time, in the order of their asking. What waits costs next to nothing, as
 * long as who waits has not begun.
 */
export class Turns {
  readonly #capacity: number
  readonly #lanes = new Map<string, Lane>()

  /** @param options.capacity turns that one name may have at a time */
  constructor({ capacity }: { capacity: number }) {
    this.#capacity = capacity
  }

  /** Names that have a turn, or wait for one. */
  get size(): number {
    return this.#lanes.size
  }

  /** Waits for a turn; who took it ends it. */
  async take(name: string): Promise<EndTurn> {
    const lane = this.#lanes.get(name) ?? { taken: 0, waiting: [] }
    this.#lanes.set(name, lane)
    if (lane.taken < this.#capacity) lane.taken += 1
    else {
      const { promise, resolve } = Promise.withResolvers<void>()
      lane.waiting.push(resolve)
      // who ends a turn hands it on
      await promise
    }
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#end(name, lane)
    }
  }

  #end(name: string, lane: Lane): void {
    const next = lane.waiting.shift()
    if (next) next()
    else lane.taken -= 1
    if (lane.taken === 0) this.#lanes.delete(name)
  }
}
