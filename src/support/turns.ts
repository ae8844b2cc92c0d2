/** Ends a turn; once is enough. */
export type EndTurn = () => void

interface Waiting {
  readonly weight: number
  readonly start: () => void
}

interface Lane {
  weight: number
  readonly waiting: Waiting[]
}

/**
 * Lets each of many get so much done at a time, in the order of their asking. What waits costs next to nothing, as
 * long as who waits has not begun.
 */
export class Turns {
  readonly #capacity: number
  readonly #lanes = new Map<string, Lane>()

  /** @param options.capacity the weight that one name may have under way */
  constructor({ capacity }: { capacity: number }) {
    this.#capacity = capacity
  }

  /** Names for whom something is under way, or waits. */
  get size(): number {
    return this.#lanes.size
  }

  /** Waits for a turn; who took it ends it. @param weight at most the capacity */
  async take(name: string, weight = 1): Promise<EndTurn> {
    const lane = this.#lanes.get(name) ?? { weight: 0, waiting: [] }
    this.#lanes.set(name, lane)
    if (lane.waiting.length > 0 || lane.weight + weight > this.#capacity) {
      const { promise, resolve } = Promise.withResolvers<void>()
      lane.waiting.push({ weight, start: resolve })
      await promise
    } else {
      lane.weight += weight
    }
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#end(name, lane, weight)
    }
  }

  #end(name: string, lane: Lane, weight: number): void {
    lane.weight -= weight
    for (let next = lane.waiting[0]; next; next = lane.waiting[0]) {
      if (lane.weight + next.weight > this.#capacity) return
      lane.waiting.shift()
      lane.weight += next.weight
      next.start()
    }
    if (lane.weight === 0) this.#lanes.delete(name)
  }
}
