import { LRUCache } from 'lru-cache'

// An answer that takes longer than this has long been given up.
const ANSWER_WINDOW_MS = 10_000
const KNOWN_FOR_MS = 15 * 60_000
const MAX_SOURCES = 8192

/**
 * Whom we asked, and who answered: as many answers are taken as questions were sent, for k-rpc puts whoever
 * answers into its routing table, asked or not. Who answered lately is *known*: its address is not forged.
 */
export class AskedSources {
  readonly #awaitedAnswers = new LRUCache<string, number>({
    max: MAX_SOURCES,
    ttl: ANSWER_WINDOW_MS,
  })
  readonly #known = new LRUCache<string, true>({ max: MAX_SOURCES, ttl: KNOWN_FOR_MS })

  /** A question goes out. */
  ask(source: string): void {
    this.#awaitedAnswers.set(source, (this.#awaitedAnswers.get(source) ?? 0) + 1)
  }

  isAwaited(source: string): boolean {
    return this.#awaitedAnswers.has(source)
  }

  isKnown(source: string): boolean {
    return this.#known.has(source)
  }

  /** An answer has come. @returns whether it was asked for */
  takeAnswer(source: string): boolean {
    const awaited = this.#awaitedAnswers.get(source) ?? 0
    if (awaited === 0) return false
    if (awaited === 1) this.#awaitedAnswers.delete(source)
    else this.#awaitedAnswers.set(source, awaited - 1)
    this.#known.set(source, true)
    return true
  }
}
