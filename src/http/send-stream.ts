import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'

import { AbortableWaits } from '../support/abortable-waits.ts'
import { cutShort } from './cut-short.ts'

export interface StreamedResponse {
  readonly status: number
  /** with the Content-Length of all that `body` brings */
  readonly headers: OutgoingHttpHeaders
  /**
   * opened once; its signal fires when the client has gone, and when no byte came in time. The next chunk is not asked
   * for before the system has taken the last one, so that its buffer may be used again
   */
  readonly body: (options: { signal: AbortSignal }) => AsyncIterable<Uint8Array>
}

interface SendOptions {
  /** fires when the client has gone */
  readonly signal: AbortSignal
  /** after which the headers go out without a first byte */
  readonly firstByteMs: number
  /** how long the body may bring nothing; time in which the client takes nothing does not count */
  readonly stallMs: number
}

/**
 * Sends a body of known length as its bytes come, no faster than the client takes them. A body that fails
 * before the headers are out just throws, so that another answer can be given. One that fails later is cut
 * short, so that the client sees an unexpected end, and throws too.
 */
export async function sendStream(
  response: ServerResponse,
  { status, headers, body }: StreamedResponse,
  { signal, firstByteMs, stallMs }: SendOptions,
): Promise<void> {
  const chunks = new ChunkReader(body, signal, stallMs)
  try {
    const first = chunks.next()
    await settledWithin(first, firstByteMs)
    signal.throwIfAborted()
    response.writeHead(status, headers)
    response.flushHeaders()
    for (let chunk = await first; chunk; chunk = await chunks.next()) {
      await chunks.untilTaken(response, chunk)
    }
    response.end()
  } catch (error) {
    if (response.headersSent) cutShort(response)
    throw error
  } finally {
    chunks.close()
  }
}

/** Waits until `work` is done, no longer than `limitMs`; throws if it fails by then. */
async function settledWithin(work: Promise<unknown>, limitMs: number): Promise<void> {
  const { promise: waited, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, limitMs)
  try {
    await Promise.race([work, waited])
  } finally {
    clearTimeout(timer)
  }
}

/** Takes chunks one by one, with a limit on the wait for each. */
class ChunkReader {
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #waits: AbortableWaits
  readonly #timer: NodeJS.Timeout
  #isWaiting = false

  constructor(body: StreamedResponse['body'], signal: AbortSignal, stallMs: number) {
    const stall = new AbortController()
    const either = AbortSignal.any([signal, stall.signal])
    this.#waits = new AbortableWaits(either)
    this.#iterator = body({ signal: either })[Symbol.asyncIterator]()
    // One timer for all chunks; between them it may fire without effect, and refresh starts it again.
    this.#timer = setTimeout(() => {
      if (this.#isWaiting) stall.abort(new DOMException('no byte came in time', 'TimeoutError'))
    }, stallMs)
  }

  /** @returns undefined at the end */
  async next(): Promise<Uint8Array | undefined> {
    this.#isWaiting = true
    this.#timer.refresh()
    try {
      const { done, value } = await this.#waits.wait(this.#iterator.next())
      return done === true ? undefined : value
    } finally {
      this.#isWaiting = false
    }
  }

  /** Writes a chunk and waits until the system has taken it. */
  async untilTaken(response: ServerResponse, chunk: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    response.write(chunk, (error) => (error ? reject(error) : resolve()))
    await this.#waits.wait(promise)
  }

  /** Not awaited by anybody: an iterator that hangs would answer only after its hanging step. */
  close(): void {
    clearTimeout(this.#timer)
    this.#waits.end()
    Promise.resolve(this.#iterator.return?.()).catch(() => undefined)
  }
}
