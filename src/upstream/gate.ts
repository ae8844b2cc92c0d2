import type { OperationError } from '../errors.ts'
import { abortable } from '../support/deadline.ts'
import { isUnreachable, unreachable, type UnreachableReason } from './failures.ts'

interface GateOptions {
  readonly nowMs: () => number
  /** failures that close it */
  readonly closesOn?: ReadonlySet<UnreachableReason>
}

const DEAD_OR_BUSY: ReadonlySet<UnreachableReason> = new Set(['connection', 'tls', 'busy'])
/** For a gate that counts only what the host says itself. */
export const BUSY: ReadonlySet<UnreachableReason> = new Set(['busy'])

const FIRST_QUIET_MS = 2000
const MAX_QUIET_MS = 30_000

/**
 * The way to one host. It is open until a request finds nobody there, or is told to be quiet; then requests fail at
 * once for a while, and after it one goes first while the others wait for what it finds.
 */
export class Gate {
  readonly #nowMs: () => number
  readonly #closesOn: ReadonlySet<UnreachableReason>
  #closedUntilMs = -Infinity
  #quietMs = 0
  /** why it closed last; undefined while it is open */
  #failure: OperationError | undefined
  #probe: Promise<void> | undefined

  constructor({ nowMs, closesOn = DEAD_OR_BUSY }: GateOptions) {
    this.#nowMs = nowMs
    this.#closesOn = closesOn
  }

  /** @throws OperationError UPSTREAM_UNREACHABLE with details.retryAfterMs, or what `work` throws */
  async pass<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    while (this.#failure) {
      signal.throwIfAborted()
      const leftMs = this.#closedUntilMs - this.#nowMs()
      if (leftMs > 0) throw stillClosed(this.#failure, leftMs)
      if (!this.#probe) return await this.#goFirst(work)
      await abortable(this.#probe, signal)
    }
    return await this.#watch(work)
  }

  async #goFirst<Result>(work: () => Promise<Result>): Promise<Result> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#probe = promise
    try {
      return await this.#watch(work)
    } finally {
      this.#probe = undefined
      resolve()
    }
  }

  async #watch<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      const result = await work()
      this.#open()
      return result
    } catch (thrown) {
      if (isUnreachable(thrown)) this.#onUnreachable(thrown)
      throw thrown
    }
  }

  #open(): void {
    // a request from before the registry asked for quiet says nothing about it
    if (
      this.#failure &&
      isUnreachable(this.#failure, 'busy') &&
      this.#closedUntilMs > this.#nowMs()
    ) {
      return
    }
    this.#failure = undefined
    this.#closedUntilMs = -Infinity
    this.#quietMs = 0
  }

  #onUnreachable(failure: OperationError): void {
    const { reason, retryAfterMs } = failure.details
    if (!this.#closesOn.has(reason as UnreachableReason)) return
    if (typeof retryAfterMs === 'number') {
      this.#closeFor(retryAfterMs, failure)
      return
    }
    // requests that were under way together fail together: that is one failure
    if (this.#closedUntilMs > this.#nowMs()) return
    this.#quietMs = Math.min(Math.max(this.#quietMs * 2, FIRST_QUIET_MS), MAX_QUIET_MS)
    this.#closeFor(this.#quietMs, failure)
  }

  #closeFor(ms: number, failure: OperationError): void {
    this.#failure = failure
    this.#closedUntilMs = Math.max(this.#closedUntilMs, this.#nowMs() + ms)
  }
}

function stillClosed({ message, details }: OperationError, leftMs: number): OperationError {
  const { host, reason, systemCode } = details
  const retryAfterMs = Math.ceil(leftMs)
  const before = message.replace(/^registry \S+: /, '').replace(/; not asked .*$/, '')
  return unreachable(
    { host: String(host) },
    reason as UnreachableReason,
    `${before}; not asked again for ${retryAfterMs} ms`,
    { ...(systemCode !== undefined && { systemCode }), retryAfterMs },
  )
}
