import { pause } from '../support/pause.ts'
import { ExpiringMap } from './expiring-map.ts'
import { failureOf, isWorthAnotherTry, unreachable } from './failures.ts'
import { Gate } from './gate.ts'
import type { HttpAnswer } from './http-answer.ts'
import type { HttpClient, HttpRequest } from './http-client.ts'
import { parseRetryAfter } from './retry-after.ts'

export interface RetryTimes {
  /** the first pause; doubled, with jitter, up to the last */
  readonly firstPauseMs: number
  readonly lastPauseMs: number
  /** a longer Retry-After is for the caller to know, not for us to sit out */
  readonly maxRetryAfterMs: number
}

interface SteadyClientOptions {
  readonly http: HttpClient
  readonly times: RetryTimes
  readonly nowMs: () => number
}

const MAX_RETRIES = 2
const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 500, 502, 503, 504])
const MAX_GATES = 1024

/** HTTP that tries again what may well pass, and leaves a dead host in peace for a while. */
export class SteadyClient {
  readonly #http: HttpClient
  readonly #times: RetryTimes
  readonly #nowMs: () => number
  /** by origin */
  readonly #gates: ExpiringMap<Gate>

  constructor({ http, times, nowMs }: SteadyClientOptions) {
    this.#http = http
    this.#times = times
    this.#nowMs = nowMs
    this.#gates = new ExpiringMap({ maxEntries: MAX_GATES, nowMs })
  }

  /**
   * Any status below 500 but 408 is an answer.
   * @throws OperationError UPSTREAM_UNREACHABLE, UPSTREAM_FAULTY, UPSTREAM_ADDRESS_REFUSED; the reason of the signal
   */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { origin } = request.url
    const gate = this.#gates.get(origin) ?? new Gate({ nowMs: this.#nowMs })
    this.#gates.set(origin, gate, Infinity)
    return await gate.pass(request.signal, () => this.#persist(request))
  }

  /** The pause before the try number `tries + 1`. */
  async pauseAfter(tries: number, signal: AbortSignal): Promise<void> {
    const { firstPauseMs, lastPauseMs } = this.#times
    const ms = Math.min(firstPauseMs * 2 ** (tries - 1), lastPauseMs)
    await this.rest(ms * (0.5 + Math.random() / 2), signal)
  }

  async rest(ms: number, signal: AbortSignal): Promise<void> {
    await pause(ms, signal)
    signal.throwIfAborted()
  }

  get maxRetryAfterMs(): number {
    return this.#times.maxRetryAfterMs
  }

  async #persist(request: HttpRequest): Promise<HttpAnswer> {
    for (let tries = 1; ; tries += 1) {
      const mayRetry = tries <= MAX_RETRIES
      const retryAfterMs = await this.#attempt(request, mayRetry)
      if (typeof retryAfterMs === 'object') return retryAfterMs
      if (retryAfterMs > 0) await this.rest(retryAfterMs, request.signal)
      else await this.pauseAfter(tries, request.signal)
    }
  }

  /** The answer; or, if it is worth another try, the ms that the host asked to wait, 0 for none. */
  async #attempt(request: HttpRequest, mayRetry: boolean): Promise<HttpAnswer | number> {
    const answer = await this.#http.send(request).catch((thrown: unknown) => {
      request.signal.throwIfAborted()
      const failure = failureOf(thrown, request.url)
      if (mayRetry && isWorthAnotherTry(failure)) return undefined
      throw failure
    })
    if (!answer) return 0
    if (answer.status < 500 && answer.status !== 408) return answer
    await answer.discard()
    return this.#retryOf(answer, mayRetry)
  }

  /** @throws OperationError UPSTREAM_UNREACHABLE if it is not worth another try */
  #retryOf(answer: HttpAnswer, mayRetry: boolean): number {
    const { status, url } = answer
    const found = `it answered ${status}`
    const retryAfterMs =
      status === 503 ? parseRetryAfter(answer.header('retry-after'), Date.now()) : undefined
    if (retryAfterMs !== undefined && (!mayRetry || retryAfterMs > this.#times.maxRetryAfterMs)) {
      throw unreachable(url, 'busy', found, { status, retryAfterMs })
    }
    if (mayRetry && PASSING_STATUSES.has(status)) return retryAfterMs ?? 0
    throw unreachable(url, 'server', found, { status })
  }
}
