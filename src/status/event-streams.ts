import type { ServerResponse } from 'node:http'

import type { StatusEvent, StatusSource } from './node-status.ts'

/** A client that has so many bytes still to read is too slow, and may come again. */
const MAX_BACKLOG_BYTES = 1024 * 1024
const RECONNECT_MS = 2000

interface EventStreamsOptions {
  readonly heartbeatMs: number
  readonly maxClients: number
  /** fires when the node stops; ends all streams, so that the server can drain */
  readonly signal?: AbortSignal | undefined
}

/** Server-sent events (WHATWG HTML, Server-sent events) for a bounded number of clients. */
export class EventStreams {
  readonly #source: Pick<StatusSource, 'subscribe'>
  readonly #options: EventStreamsOptions
  #clients = 0

  constructor(source: Pick<StatusSource, 'subscribe'>, options: EventStreamsOptions) {
    this.#source = source
    this.#options = options
  }

  get hasRoom(): boolean {
    return this.#clients < this.#options.maxClients && this.#options.signal?.aborted !== true
  }

  /** Sends events on `response` until its client goes or the node stops. */
  open(response: ServerResponse): void {
    const { heartbeatMs, signal } = this.#options
    this.#clients += 1
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    response.write(`retry: ${RECONNECT_MS}\n\n`)
    const unsubscribe = this.#source.subscribe((event) => write(response, frame(event)))
    const heartbeat = setInterval(() => write(response, ': alive\n\n'), heartbeatMs)
    const onStop = () => void response.end()
    signal?.addEventListener('abort', onStop, { once: true })
    response.once('close', () => {
      this.#clients -= 1
      unsubscribe()
      clearInterval(heartbeat)
      signal?.removeEventListener('abort', onStop)
    })
  }
}

function write(response: ServerResponse, text: string): void {
  if (response.writableLength > MAX_BACKLOG_BYTES) response.destroy()
  else response.write(text)
}

function frame(event: StatusEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}
