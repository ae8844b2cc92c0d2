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
  const sender = new ChunkSender(response, { body, signal, stallMs })
  try {
    const first = sender.next()
    await settledWithin(first, firstByteMs)
    signal.throwIfAborted()
    response.writeHead(status, headers)
    response.flushHeaders()
    for (let next = await first; next.done !== true; next = await sender.next()) {
      const taken = sender.send(next.value)
      if (taken) await taken
    }
    response.end()
  } catch (error) {
    if (response.headersSent) cutShort(response)
    throw error
  } finally {
    sender.close()
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

/**
 * Takes chunks one by one, with a limit on the wait for each, and writes them. Little is made for a single chunk: what
 * those of a thousand answers leave behind is more than all else.
 */
class ChunkSender {
  readonly #response: ServerResponse
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #waits: AbortableWaits
  readonly #timer: NodeJS.Timeout
  #isWaiting = false
  #untaken = 0
  #onTaken: ((error?: Error | null) => void) | undefined
  readonly #onWritten = (error?: Error | null): void => {
    this.#untaken -= 1
    if (error || this.#untaken === 0) this.#onTaken?.(error)
  }

  constructor(
    response: ServerResponse,
    { body, signal, stallMs }: Pick<StreamedResponse, 'body'> & Omit<SendOptions, 'firstByteMs'>,
  ) {
    const stall = new AbortController()
    const either = AbortSignal.any([signal, stall.signal])
    this.#response = response
    this.#waits = new AbortableWaits(either)
    this.#iterator = body({ signal: either })[Symbol.asyncIterator]()
    // One timer for all chunks; between them it may fire without effect, and refresh starts it again.
    this.#timer = setTimeout(() => {
      if (this.#isWaiting) stall.abort(new DOMException('no byte came in time', 'TimeoutError'))
    }, stallMs)
  }

  /** The next chunk, which is to be sent before another is asked for. */
  next(): Promise<IteratorResult<Uint8Array>> {
    this.#isWaiting = true
    this.#timer.refresh()
    return this.#waits.wait(this.#iterator.next())
  }

  /** @returns to be awaited: the system takes the chunk; undefined where it has taken it already */
  send(chunk: Uint8Array): Promise<void> | undefined {
    this.#isWaiting = false
    this.#untaken += 1
    // a corked socket keeps Node from corking it until the end of the turn
    const { socket } = this.#response
    socket?.cork()
    this.#response.write(chunk, this.#onWritten)
    socket?.uncork()
    if (this.#response.writableLength === 0) return undefined
    return this.#waits.settled((resolve, reject) => {
      this.#onTaken = (error) => (error ? reject(error) : resolve())
    })
  }

  /** Not awaited by anybody: an iterator that hangs would answer only after its hanging step. */
  close(): void {
    clearTimeout(this.#timer)
    this.#waits.end()
    Promise.resolve(this.#iterator.return?.()).catch(() => undefined)
  }
}
