import { setImmediate as settled } from 'node:timers/promises'

import { OperationError } from '../errors.ts'
import { deadline } from '../support/deadline.ts'
import { failureOf, faulty, unreachable } from './failures.ts'

type HeaderValues = Readonly<Record<string, string | string[] | undefined>>

/** The bytes of an answer; they are read once. */
export interface AnswerBody extends AsyncIterable<Buffer> {
  /** Ends the connection; whoever reads fails with the error. */
  destroy(error?: Error): unknown
  /** Reads and drops what is left. */
  dump(options: { limit: number; signal: AbortSignal }): Promise<void>
}

interface AnswerParts {
  readonly url: URL
  readonly status: number
  readonly headers: HeaderValues
  readonly body: AnswerBody
  readonly signal: AbortSignal
  readonly bodyIdleMs: number
}

// An error page that is longer than this costs less as a new connection.
const DISCARD_BYTES = 64 * 1024
const DISCARD_MS = 1000
// a byte now and then is not silence, and no answer either
const WHOLE_BODY_MS = 60_000

// undici gives a connection free one turn of the event loop after its answer: a request in the same turn opens another,
// and that may cost a TLS handshake. So `bytes` and `discard` end a turn later.

/** The answer to one request. Its body is read once, by `chunks` or `bytes`, or given up by `discard` or `leave`. */
export class HttpAnswer {
  readonly url: URL
  readonly status: number
  readonly #parts: AnswerParts

  constructor(parts: AnswerParts) {
    this.url = parts.url
    this.status = parts.status
    this.#parts = parts
  }

  get isSuccess(): boolean {
    return this.status >= 200 && this.status <= 299
  }

  /** All values of a header in one line, as RFC 9110 joins them. */
  header(name: string): string | undefined {
    const value = this.#parts.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  /** @throws OperationError UPSTREAM_FAULTY: not a whole number */
  get contentLength(): number | undefined {
    const text = this.header('content-length')
    if (text === undefined) return undefined
    const length = /^\d{1,15}$/.test(text) ? Number(text) : NaN
    if (Number.isNaN(length)) throw faulty(this.url, 'its Content-Length is not a number of bytes')
    return length
  }

  /**
   * The body as it comes. The connection ends when it is left early. A reader may take any time, the registry
   * may not.
   * @throws OperationError UPSTREAM_UNREACHABLE with reason `body`; the reason of the signal
   */
  async *chunks(): AsyncGenerator<Buffer, void, void> {
    const { body, signal, bodyIdleMs, url } = this.#parts
    let isWaiting = true
    const timer = setTimeout(() => {
      if (isWaiting) body.destroy(unreachable(url, 'body', `no bytes for ${bodyIdleMs} ms`))
    }, bodyIdleMs)
    try {
      for await (const chunk of body) {
        isWaiting = false
        yield chunk
        isWaiting = true
        timer.refresh()
      }
    } catch (thrown) {
      signal.throwIfAborted()
      throw brokenBody(thrown, url)
    } finally {
      clearTimeout(timer)
    }
    signal.throwIfAborted()
  }

  /** @throws OperationError UPSTREAM_FAULTY: more than `maxBytes`; UPSTREAM_UNREACHABLE with reason `body` */
  async bytes(maxBytes: number): Promise<Buffer> {
    if ((this.contentLength ?? 0) > maxBytes) {
      this.leave()
      throw faulty(this.url, `wanted at most ${maxBytes} bytes, found ${this.contentLength}`)
    }
    const { body, url } = this.#parts
    const late = unreachable(url, 'body', `its answer takes more than ${WHOLE_BODY_MS} ms`)
    const timer = setTimeout(() => body.destroy(late), WHOLE_BODY_MS)
    const chunks: Buffer[] = []
    let length = 0
    try {
      for await (const chunk of this.chunks()) {
        chunks.push(chunk)
        length += chunk.length
        if (length > maxBytes) throw faulty(url, `wanted at most ${maxBytes} bytes, found more`)
      }
    } finally {
      clearTimeout(timer)
    }
    await settled()
    return Buffer.concat(chunks, length)
  }

  /** Reads what is left if it is little, so that the connection can be used again. */
  async discard(): Promise<void> {
    const { body, signal } = this.#parts
    try {
      await body.dump({ limit: DISCARD_BYTES, signal: deadline(DISCARD_MS, signal) })
      await settled()
    } catch {
      // nobody wants these bytes
      body.destroy()
    }
  }

  /** Ends the connection. */
  leave(): void {
    this.#parts.body.destroy()
  }
}

function brokenBody(thrown: unknown, url: URL): OperationError {
  const failure = failureOf(thrown, url)
  if (failure.code !== 'UPSTREAM_UNREACHABLE' || failure === thrown) return failure
  if (failure.details['reason'] === 'closed') return failure
  const { systemCode } = failure.details
  return unreachable(url, 'body', `its answer broke off (${String(systemCode)})`, { systemCode })
}
