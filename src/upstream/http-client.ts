import type { Dispatcher } from 'undici'
// The index of undici loads 70 more files, for 80 ms and 15 MB: fetch, WebSocket, caches.
import askStock from 'undici/lib/api/api-request.js'
import Agent from 'undici/lib/dispatcher/agent.js'
import Pool from 'undici/lib/dispatcher/pool.js'

import { VERSION } from '../version.ts'
import type { AddressGuard, Reach } from './address-guard.ts'
import { BlobConnections } from './blob-connections.ts'
import { failureOf, faulty, unreachable } from './failures.ts'
import { HttpAnswer } from './http-answer.ts'

export interface HttpTimes {
  /** name, TCP and TLS */
  readonly connectMs: number
  /** from the request to the first header */
  readonly headersMs: number
  /** without a byte of the body while somebody waits for one */
  readonly bodyIdleMs: number
}

export interface HttpRequest {
  readonly url: URL
  readonly method: 'GET' | 'HEAD' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** short answers do not wait behind long ones */
  readonly kind: 'metadata' | 'blob'
  readonly reach: Reach
  readonly signal: AbortSignal
}

interface HttpClientOptions {
  readonly guard: AddressGuard
  readonly times: HttpTimes
  /** PEM of all authorities that are trusted; undefined: those of Node */
  readonly authorities: readonly string[] | undefined
}

const CONNECTIONS_PER_HOST = 64
const KEEP_ALIVE_MS = 15_000
const MAX_HEADER_BYTES = 64 * 1024
const READ_AHEAD_BYTES = 256 * 1024
const FIXED_HEADERS = { 'user-agent': `ddocker/${VERSION}`, 'accept-encoding': 'identity' }

/** One exchange of HTTP/1.1 at a time: no redirects, no decompression, no cookies, only checked addresses. */
export class HttpClient implements AsyncDisposable {
  readonly #options: HttpClientOptions
  /** a socket that was opened with one reach is not used for another */
  readonly #agents = new Map<string, Agent>()
  readonly #blobs: BlobConnections
  #isClosed = false

  constructor(options: HttpClientOptions) {
    this.#options = options
    this.#blobs = new BlobConnections({ ...options.times, authorities: options.authorities })
  }

  /**
   * @throws OperationError UPSTREAM_UNREACHABLE, UPSTREAM_FAULTY, UPSTREAM_ADDRESS_REFUSED; the reason of the signal
   */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { url, method, kind, signal } = request
    signal.throwIfAborted()
    if (this.#isClosed) throw unreachable(url, 'closed', 'this node is closing')
    this.#options.guard.check(url, request.reach)
    return kind === 'blob' && method === 'GET' ? this.#getBlob(request) : this.#sendStock(request)
  }

  /** A body that may be long, read without copies. */
  async #getBlob(request: HttpRequest): Promise<HttpAnswer> {
    const { url, headers, reach, signal } = request
    const { guard, times } = this.#options
    try {
      const { head, body } = await this.#blobs.get({
        url,
        signal,
        headers: { ...FIXED_HEADERS, ...headers },
        key: `${url.origin} ${reach}`,
        lookup: guard.lookupFor(new URL(url.origin), reach),
      })
      return new HttpAnswer({ url, signal, bodyIdleMs: times.bodyIdleMs, body, ...head })
    } catch (thrown) {
      signal.throwIfAborted()
      if (thrown instanceof SyntaxError) {
        throw faulty(url, `its answer is not HTTP/1.1: ${thrown.message}`)
      }
      throw failureOf(thrown, url)
    }
  }

  async #sendStock(request: HttpRequest): Promise<HttpAnswer> {
    const { url, method, headers, body, signal } = request
    try {
      const answer = await askStock.call(this.#agentFor(request), {
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { ...FIXED_HEADERS, ...headers },
        ...(body !== undefined && { body }),
        signal,
        highWaterMark: READ_AHEAD_BYTES,
        // undici ends the connection after a HEAD unless told otherwise; every pull begins with one
        reset: false,
      })
      const { bodyIdleMs } = this.#options.times
      // an error that comes before anybody reads is found again by who reads
      answer.body.on('error', () => undefined)
      return new HttpAnswer({
        url,
        status: answer.statusCode,
        headers: answer.headers,
        body: answer.body,
        signal,
        bodyIdleMs,
      })
    } catch (thrown) {
      signal.throwIfAborted()
      throw failureOf(thrown, url)
    }
  }

  /** Ends all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#blobs.close()
    await Promise.all([...this.#agents.values()].map((agent) => agent.destroy()))
  }

  #agentFor({ kind, reach }: HttpRequest): Agent {
    const key = `${kind} ${reach}`
    const agent = this.#agents.get(key) ?? this.#openAgent(reach)
    this.#agents.set(key, agent)
    return agent
  }

  #openAgent(reach: Reach): Agent {
    const { guard, times, authorities } = this.#options
    const openPool = (origin: string | URL, options: object): Dispatcher =>
      new Pool(origin, {
        ...options,
        connect: {
          timeout: times.connectMs,
          lookup: guard.lookupFor(new URL(origin), reach),
          // spelled out, so that NODE_TLS_REJECT_UNAUTHORIZED has no say
          rejectUnauthorized: true,
          ...(authorities && { ca: [...authorities] }),
        },
      })
    return new Agent({
      factory: openPool,
      connections: CONNECTIONS_PER_HOST,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: times.headersMs,
      // HttpAnswer watches the body: a reader that is slow is no silent registry
      bodyTimeout: 0,
    })
  }
}
