import type { Socket } from 'node:net'

import { hold, release, type BufferLender } from '../support/buffer-lender.ts'
import { readResponseHead, type ResponseHead } from './response-head.ts'

/** How a connection is opened: with these options of `net.connect` and `tls.connect` besides its own. */
export type OpenSocket = (options: {
  onread: { buffer: () => Uint8Array; callback: (bytes: number) => boolean }
}) => Socket

// A piece of most blobs: a full buffer becomes a piece without being copied.
const SLAB_BYTES = 256 * 1024
// of a lender: how much may lie idle
export const MAX_IDLE_SLAB_BYTES = 8 * 1024 * 1024
// What waits for the reader; beyond it the socket is not read.
const MAX_WAITING_BYTES = 2 * SLAB_BYTES
// On a slow link a reader sees what there is this often.
const FLUSH_MS = 50

/**
 * One connection to a registry, for bodies that may be long. Bytes are read straight into large buffers, of which the
 * reader is one user: the stock client hands out a stream chunk of its own for every 64 KiB, and takes five times as
 * long for it.
 */
export class BodySocket {
  readonly #socket: Socket
  readonly #lender: BufferLender
  #slab: Buffer
  /** bytes of the slab that the reader has */
  #given = 0
  /** bytes of the slab that are here */
  #filled = 0
  #flushTimer: NodeJS.Timeout | undefined
  #head: ResponseHead | undefined
  /** of the body, that have yet to come; Infinity where its end is told by other means */
  #missing = 0
  #ready: Buffer[] = []
  #readyBytes = 0
  #failure: Error | undefined
  #isPaused = false
  /** nobody has asked for the body yet */
  #isUnread = true
  #wake: () => void = () => {}
  readonly #failed = Promise.withResolvers<never>()

  constructor(open: OpenSocket, lender: BufferLender) {
    this.#lender = lender
    this.#slab = lender.lend(SLAB_BYTES)
    this.#socket = open({
      onread: {
        buffer: () => this.#room(),
        callback: (bytes) => this.#onRead(bytes),
      },
    })
    this.#failed.promise.catch(() => undefined)
    this.#socket.setNoDelay(true)
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('end', () => this.#fail(endOfConnection()))
    this.#socket.on('close', () => this.#fail(endOfConnection()))
  }

  /** Whether the connection can take another request. */
  get isUsable(): boolean {
    return this.#failure === undefined
  }

  /** Rejects when the connection fails. */
  get failed(): Promise<never> {
    return this.#failed.promise
  }

  /** Called when the connection is there, TLS included. */
  onConnected(event: 'connect' | 'secureConnect', connected: () => void): void {
    this.#socket.once(event, connected)
  }

  /**
   * Sends a request and waits for the head of its answer.
   * @throws SyntaxError it is not HTTP/1.1; what the connection failed with
   */
  async exchange(request: string): Promise<ResponseHead> {
    this.#head = undefined
    this.#isUnread = true
    this.#socket.write(request, 'latin1')
    for (;;) {
      if (this.#head) return this.#head
      await this.#changed()
    }
  }

  /**
   * The next bytes of the body as they are on the wire; undefined at its end. The caller is a user of their buffer,
   * and may release it.
   * @throws what the connection failed with before it
   */
  async next(): Promise<Buffer | undefined> {
    this.#isUnread = false
    this.#readOn()
    for (;;) {
      const bytes = this.#ready.shift()
      if (bytes) {
        this.#readyBytes -= bytes.length
        this.#readOn()
        return bytes
      }
      if (this.#missing === 0) return undefined
      const isEnd = this.#missing === Infinity && isEndOfConnection(this.#failure)
      if (isEnd) return undefined
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
    this.#fail(error ?? endOfConnection())
    this.#socket.destroy()
  }

  /**
   * Where the next bytes go. Never nothing, also after a failure: what TLS has decrypted already still comes, and
   * with no room for it Node's TLS would try for ever, in a loop that lets nothing else run.
   */
  #room(): Buffer {
    return this.#filled < SLAB_BYTES
      ? this.#slab.subarray(this.#filled)
      : Buffer.allocUnsafeSlow(SLAB_BYTES)
  }

  #onRead(bytes: number): boolean {
    this.#filled += bytes
    if (!this.#head) this.#readHead()
    else this.#onBody(bytes)
    // Once it is paused only the reader lets it go on: TLS still gives what it had decrypted, to the end of the body.
    this.#isPaused ||= this.#isFull() && this.#missing > 0
    return !this.#isPaused
  }

  #readHead(): void {
    try {
      const head = readResponseHead(this.#slab.subarray(0, this.#filled))
      if (head) this.#beginBody(head)
      else if (this.#filled === SLAB_BYTES) throw new SyntaxError('its head has no end')
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  /** What came with the head is moved to the front of the slab, so that slabs begin where pieces begin. */
  #beginBody(head: ResponseHead): void {
    this.#head = head
    this.#missing = head.bodyLength
    this.#slab.copyWithin(0, head.length, this.#filled)
    this.#filled -= head.length
    this.#onBody(this.#filled)
    this.#wake()
  }

  #onBody(bytes: number): void {
    this.#missing -= bytes
    if (this.#missing < 0) {
      this.destroy(new SyntaxError('it sends more than its Content-Length says'))
    } else if (this.#filled === SLAB_BYTES || this.#missing === 0) this.#flush()
    else this.#flushTimer ??= setTimeout(() => this.#flush(), FLUSH_MS)
  }

  /** What is here is the reader's from now on. */
  #flush(): void {
    clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    if (this.#filled > this.#given) {
      const bytes = this.#slab.subarray(this.#given, this.#filled)
      hold(bytes)
      this.#ready.push(bytes)
      this.#readyBytes += bytes.length
    }
    this.#given = this.#filled
    // Only as the socket asks for the next buffer anyway: this is called with what it has just filled.
    if (this.#filled === SLAB_BYTES || this.#missing === 0) this.#changeSlab()
    this.#wake()
  }

  #changeSlab(): void {
    release(this.#slab)
    this.#slab = this.#lender.lend(SLAB_BYTES)
    this.#given = 0
    this.#filled = 0
  }

  /**
   * A body that nobody reads yet is left to the sender, but for what came with its head: the system has little room
   * for it, and makes much of it once a body was read fast.
   */
  #isFull(): boolean {
    return this.#readyBytes >= MAX_WAITING_BYTES || (this.#isUnread && this.#head !== undefined)
  }

  #readOn(): void {
    if (!this.#isPaused || this.#isFull()) return
    this.#isPaused = false
    this.#socket.resume()
  }

  #fail(error: Error): void {
    if (this.#failure) return
    this.#failure = error
    this.#failed.reject(error)
    // What came before is right, and need not come again.
    if (this.#head) this.#flush()
    this.#wake()
  }

  async #changed(): Promise<void> {
    if (this.#failure) throw this.#failure
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    await promise
    this.#wake = () => {}
  }
}

function endOfConnection(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })
}

function isEndOfConnection(error: Error | undefined): boolean {
  return error !== undefined && 'code' in error && error.code === 'ECONNRESET'
}
