import type { Socket } from 'node:net'

import { readResponseHead, type ResponseHead } from './response-head.ts'

/** How a connection is opened: with these options of `net.connect` and `tls.connect` besides its own. */
export type OpenSocket = (options: {
  onread: { buffer: () => Uint8Array; callback: (bytes: number) => boolean }
}) => Socket

// A piece of most blobs: a full buffer becomes a piece without being copied.
const SLAB_BYTES = 256 * 1024
// What waits for the reader; beyond it the socket is not read.
const MAX_WAITING_BYTES = 2 * SLAB_BYTES
// On a slow link a reader sees what there is this often.
const FLUSH_MS = 50

/**
 * One connection to a registry that brings bodies of known length. Bytes are read straight into large buffers,
 * which then belong to the reader: the stock client hands out a stream chunk of its own for every 64 KiB, and takes five
 * times as long for it.
 */
export class BodySocket {
  readonly #socket: Socket
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  /** bytes of the slab that the reader has */
  #given = 0
  /** bytes of the slab that are here */
  #filled = 0
  #flushedAtMs = 0
  #isInBody = false
  /** of the body, that have yet to come */
  #missing = 0
  #ready: Buffer[] = []
  #readyBytes = 0
  #failure: Error | undefined
  #wake: () => void = () => {}

  constructor(open: OpenSocket) {
    this.#socket = open({
      onread: {
        buffer: () => this.#slab.subarray(this.#filled),
        callback: (bytes) => this.#onRead(bytes),
      },
    })
    this.#socket.setNoDelay(true)
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('close', () => this.#fail(brokenOff()))
  }

  /** Whether the connection can take another request. */
  get isUsable(): boolean {
    return this.#failure === undefined
  }

  get isConnecting(): boolean {
    return this.#socket.connecting
  }

  /** Called when the connection is there, TLS included. */
  onConnected(event: 'connect' | 'secureConnect', connected: () => void): void {
    this.#socket.once(event, connected)
  }

  /**
   * Sends a request and waits for the head of its answer. @throws SyntaxError, and what the connection failed with
   */
  async exchange(request: string): Promise<ResponseHead> {
    this.#isInBody = false
    this.#socket.write(request, 'latin1')
    for (;;) {
      const head = readResponseHead(this.#slab.subarray(0, this.#filled))
      if (head) {
        this.#beginBody(head)
        return head
      }
      if (this.#filled === SLAB_BYTES) throw new SyntaxError('its head has no end')
      await this.#changed()
    }
  }

  /** The next bytes of the body; undefined at its end. @throws what the connection failed with */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const bytes = this.#ready.shift()
      if (bytes) {
        this.#readyBytes -= bytes.length
        if (this.#readyBytes < MAX_WAITING_BYTES) this.#socket.resume()
        return bytes
      }
      if (this.#missing === 0) return undefined
      await this.#changed()
    }
  }

  /** While it is idle, a connection does not keep the process alive, and whatever comes on it ends it. */
  rest(onEnd: () => void): void {
    this.#socket.unref()
    this.#wake = onEnd
  }

  resume(): void {
    this.#socket.ref()
    this.#wake = () => {}
  }

  destroy(error?: Error): void {
    this.#fail(error ?? brokenOff())
    this.#socket.destroy()
  }

  #onRead(bytes: number): boolean {
    this.#filled += bytes
    if (!this.#isInBody) {
      this.#wake()
      return true
    }
    this.#missing -= bytes
    if (this.#missing < 0) {
      this.destroy(new SyntaxError('it sends more than its Content-Length says'))
      return false
    }
    const isDue = performance.now() - this.#flushedAtMs > FLUSH_MS
    if (this.#filled === SLAB_BYTES || this.#missing === 0 || isDue) this.#flush()
    return this.#readyBytes < MAX_WAITING_BYTES
  }

  /** What came with the head is moved to the front of a slab of its own, so that slabs begin where pieces begin. */
  #beginBody({ length, contentLength = 0 }: ResponseHead): void {
    const early = this.#slab.subarray(length, this.#filled)
    this.#isInBody = true
    this.#missing = contentLength - early.length
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
    early.copy(this.#slab)
    this.#given = 0
    this.#filled = early.length
    this.#flushedAtMs = performance.now()
    if (this.#missing < 0) {
      this.destroy(new SyntaxError('it sends more than its Content-Length says'))
    } else if (this.#missing === 0) this.#flush()
  }

  #flush(): void {
    if (this.#filled > this.#given) {
      const bytes = this.#slab.subarray(this.#given, this.#filled)
      this.#ready.push(bytes)
      this.#readyBytes += bytes.length
    }
    this.#given = this.#filled
    this.#flushedAtMs = performance.now()
    if (this.#filled === SLAB_BYTES || this.#missing === 0) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#given = 0
      this.#filled = 0
    }
    this.#wake()
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#wake()
  }

  async #changed(): Promise<void> {
    if (this.#failure) throw this.#failure
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    await promise
    this.#wake = () => {}
    if (this.#failure && this.#ready.length === 0) throw this.#failure
  }
}

function brokenOff(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })
}
