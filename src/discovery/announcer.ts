import { messageOf } from '../errors.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { DueQueue } from './due-queue.ts'
import { TokenBucket } from './token-bucket.ts'

interface AnnouncerOptions {
  /** announces one key once; rejects when nobody took it */
  readonly announce: (key: string, signal: AbortSignal) => Promise<void>
  /** whether there is anybody to announce to: while not, nothing is tried */
  readonly canAnnounce?: () => boolean
  /** between two announces of a key, give or take a tenth */
  readonly intervalMs?: number
  /** announces under way at once */
  readonly concurrency?: number
  /** starts per second in the long run; without it only `concurrency` limits */
  readonly ratePerSecond?: number | undefined
  readonly firstRetryMs?: number
  readonly log?: Log
  readonly now?: () => number
  readonly random?: () => number
}

interface KeptKey {
  failureCount: number
  isRunning: boolean
  /** announce again when the running announce is done */
  isWantedAgain: boolean
}

// BEP 5 nodes forget a peer after about half an hour, so that one lost announce does no harm.
const INTERVAL_MS = 10 * 60_000
const JITTER = 0.1
const FIRST_RETRY_MS = 250
const MAX_RETRY_MS = 5 * 60_000
const CONCURRENCY = 4
const BURST_SECONDS = 2
// Before all that was announced already.
const NEVER_ANNOUNCED = Number.NEGATIVE_INFINITY

/**
 * Keeps keys announced: new ones first, then what is due longest, a few at once, with one timer for all.
 * A failed announce is tried again with back-off.
 */
export class Announcer {
  readonly #options: Required<Omit<AnnouncerOptions, 'ratePerSecond'>>
  readonly #kept = new Map<string, KeptKey>()
  readonly #queue = new DueQueue()
  readonly #rate: TokenBucket | undefined
  readonly #closing = new AbortController()
  #runningCount = 0
  #timer: NodeJS.Timeout | undefined
  #idle: PromiseWithResolvers<void> | undefined

  constructor(options: AnnouncerOptions) {
    this.#options = {
      canAnnounce: () => true,
      intervalMs: INTERVAL_MS,
      concurrency: CONCURRENCY,
      firstRetryMs: FIRST_RETRY_MS,
      log: silentLog,
      now: () => performance.now(),
      random: Math.random,
      ...options,
    }
    const perSecond = options.ratePerSecond
    if (perSecond !== undefined) {
      const burst = Math.max(1, perSecond * BURST_SECONDS)
      this.#rate = new TokenBucket({ perSecond, burst }, this.#options.now())
    }
  }

  /** Keys that are kept announced. */
  get size(): number {
    return this.#kept.size
  }

  has(key: string): boolean {
    return this.#kept.has(key)
  }

  /** Announces a key now, and again and again. A key that is kept already stays as it is. */
  add(key: string): void {
    if (this.#kept.has(key) || this.#closing.signal.aborted) return
    this.#kept.set(key, { failureCount: 0, isRunning: false, isWantedAgain: false })
    this.#queue.schedule(key, NEVER_ANNOUNCED)
    this.#pump()
  }

  remove(key: string): void {
    this.#kept.delete(key)
    this.#queue.remove(key)
    this.#pump()
  }

  /** Makes all keys due: there is somebody new to announce to. */
  announceAll(): void {
    for (const kept of this.#kept.values()) {
      if (kept.isRunning) kept.isWantedAgain = true
    }
    this.#queue.scheduleAllBy(this.#options.now())
    this.#pump()
  }

  /** Resolves when nothing is under way and nothing is due now. */
  async idle(): Promise<void> {
    if (this.#isIdle()) return
    this.#idle ??= Promise.withResolvers<void>()
    await this.#idle.promise
  }

  /** Stops; what is under way is abandoned. */
  close(): void {
    this.#closing.abort(new DOMException('discovery was closed', 'AbortError'))
    this.#kept.clear()
    clearTimeout(this.#timer)
    this.#tellIfIdle()
  }

  #pump(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#mayStart()) {
      const waitMs = this.#waitMs()
      if (waitMs > 0) {
        if (waitMs < Infinity) this.#timer = setTimeout(() => this.#pump(), waitMs)
        break
      }
      this.#startNext()
    }
    this.#tellIfIdle()
  }

  #mayStart(): boolean {
    const { concurrency, canAnnounce } = this.#options
    return !this.#closing.signal.aborted && this.#runningCount < concurrency && canAnnounce()
  }

  /** Until the next announce may start; Infinity if there is none. */
  #waitMs(): number {
    const next = this.#queue.peek()
    if (!next) return Infinity
    const nowMs = this.#options.now()
    const untilDueMs = Math.max(0, next.dueMs - nowMs)
    return untilDueMs > 0 ? Math.ceil(untilDueMs) : (this.#rate?.waitMs(nowMs) ?? 0)
  }

  #startNext(): void {
    const key = this.#queue.pop()
    const kept = key === undefined ? undefined : this.#kept.get(key)
    if (key === undefined || !kept) return
    this.#rate?.take(this.#options.now())
    kept.isRunning = true
    this.#runningCount += 1
    void this.#announceOnce(key, kept)
  }

  async #announceOnce(key: string, kept: KeptKey): Promise<void> {
    try {
      await this.#options.announce(key, this.#closing.signal)
      kept.failureCount = 0
    } catch (error) {
      kept.failureCount += 1
      this.#options.log.debug({ error: messageOf(error) }, 'announce failed')
    }
    kept.isRunning = false
    this.#runningCount -= 1
    // It may have been withdrawn, and even kept anew, in the meantime.
    if (this.#kept.get(key) === kept) this.#queue.schedule(key, this.#nextDueMs(kept))
    kept.isWantedAgain = false
    this.#pump()
  }

  #nextDueMs({ failureCount, isWantedAgain }: KeptKey): number {
    const { now, random, intervalMs, firstRetryMs } = this.#options
    const spread = 1 - JITTER + 2 * JITTER * random()
    if (failureCount > 0) {
      const backOffMs = Math.min(MAX_RETRY_MS, firstRetryMs * 2 ** (failureCount - 1))
      return now() + backOffMs * spread
    }
    return isWantedAgain ? now() : now() + intervalMs * spread
  }

  #isIdle(): boolean {
    if (this.#closing.signal.aborted) return true
    const next = this.#queue.peek()
    return this.#runningCount === 0 && (!next || next.dueMs > this.#options.now())
  }

  #tellIfIdle(): void {
    if (!this.#idle || !this.#isIdle()) return
    this.#idle.resolve()
    this.#idle = undefined
  }
}
