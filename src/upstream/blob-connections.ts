import { connect as connectPlain, isIP, type LookupFunction } from 'node:net'
import { connect as connectSecure, type ConnectionOptions } from 'node:tls'

import { BufferLender } from '../support/buffer-lender.ts'
import { abortable } from '../support/deadline.ts'
import { BodySocket, MAX_IDLE_SLAB_BYTES, type OpenSocket } from './body-socket.ts'
import { chunkedBody } from './chunked-body.ts'
import type { AnswerBody } from './http-answer.ts'
import type { ResponseHead } from './response-head.ts'

/** A GET whose body may be long. */
export interface BlobRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  /** connections that were opened for one key are not used for another */
  readonly key: string
  readonly lookup: LookupFunction
}

interface BlobConnectionsOptions {
  readonly connectMs: number
  readonly headersMs: number
  /** PEM of all authorities that are trusted; undefined: those of Node */
  readonly authorities: readonly string[] | undefined
}

const KEEP_ALIVE_MS = 10_000
const MAX_IDLE = 8
// RFC 9110, 5.5: what a header value must not hold
const UNSAFE = /[\0\r\n]/

/** Connections for bodies that may be long; idle ones are used again. */
export class BlobConnections {
  readonly #options: BlobConnectionsOptions
  readonly #idle = new Map<string, { socket: BodySocket; timer: NodeJS.Timeout }[]>()
  readonly #all = new Set<BodySocket>()
  readonly #slabs = new BufferLender({ maxBytes: MAX_IDLE_SLAB_BYTES })
  #isClosed = false

  constructor(options: BlobConnectionsOptions) {
    this.#options = options
  }

  /**
   * @throws SyntaxError it is not HTTP/1.1; errors of the socket; the reason of the signal
   */
  async get(request: BlobRequest): Promise<{ head: ResponseHead; body: AnswerBody }> {
    const reused = this.#takeIdle(request)
    if (reused) {
      try {
        return await this.#exchange(reused, request)
      } catch (error) {
        request.signal.throwIfAborted()
        // The registry may have closed it just then: that says nothing of the request.
        if (error instanceof SyntaxError) throw error
      }
    }
    return await this.#exchange(await this.#open(request), request)
  }

  close(): void {
    this.#isClosed = true
    for (const socket of this.#all) socket.destroy(closed())
  }

  async #exchange(
    socket: BodySocket,
    request: BlobRequest,
  ): Promise<{ head: ResponseHead; body: AnswerBody }> {
    const { url, headers, signal } = request
    try {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
      if (lines.some((line) => UNSAFE.test(line.slice(0, -2)))) {
        throw new SyntaxError('a header of the request would hold a line of its own')
      }
      const text = `GET ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\n${lines.join('')}\r\n`
      const head = await inTime(socket.exchange(text), this.#options.headersMs, signal)
      return { head, body: this.#bodyOf(socket, head, request) }
    } catch (error) {
      this.#end(socket)
      throw error
    }
  }

  #bodyOf(socket: BodySocket, head: ResponseHead, { key, signal }: BlobRequest): AnswerBody {
    const leave = (error?: Error) => {
      signal.removeEventListener('abort', onAbort)
      socket.destroy(error)
      this.#all.delete(socket)
    }
    const onAbort = () => leave()
    signal.addEventListener('abort', onAbort, { once: true })
    const keep = () => {
      signal.removeEventListener('abort', onAbort)
      if (head.isKept) this.#keep(socket, key)
      else this.#end(socket)
    }
    async function* chunks(): AsyncGenerator<Buffer, void, void> {
      let isWhole = false
      try {
        if (head.isChunked) yield* chunkedBody(() => socket.next())
        else for (let bytes = await socket.next(); bytes; bytes = await socket.next()) yield bytes
        isWhole = true
      } finally {
        if (isWhole) keep()
        else leave()
      }
    }
    return {
      [Symbol.asyncIterator]: () => chunks(),
      destroy: leave,
      dump: async ({ limit, signal: giveUp }) => {
        if (head.bodyLength > limit) return leave()
        const end = chunks()
        for (let more = true; more;) more = (await abortable(end.next(), giveUp)).done !== true
      },
    }
  }

  async #open(request: BlobRequest): Promise<BodySocket> {
    if (this.#isClosed) throw closed()
    const { url, signal } = request
    const socket = new BodySocket(this.#opener(request), this.#slabs)
    this.#all.add(socket)
    const { promise, resolve } = Promise.withResolvers<void>()
    socket.onConnected(url.protocol === 'https:' ? 'secureConnect' : 'connect', resolve)
    try {
      await inTime(Promise.race([promise, socket.failed]), this.#options.connectMs, signal)
      return socket
    } catch (error) {
      this.#end(socket)
      throw error
    }
  }

  #opener({ url, lookup }: BlobRequest): OpenSocket {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    const { authorities } = this.#options
    if (url.protocol !== 'https:') {
      return (options) => connectPlain({ host, port: Number(url.port || 80), lookup, ...options })
    }
    return (options) =>
      connectSecure({
        host,
        port: Number(url.port || 443),
        lookup,
        ALPNProtocols: ['http/1.1'],
        ...(isIP(host) === 0 && { servername: host }),
        // spelled out, so that NODE_TLS_REJECT_UNAUTHORIZED has no say
        rejectUnauthorized: true,
        ...(authorities && { ca: [...authorities] }),
        ...options,
      } satisfies ConnectionOptions & Parameters<OpenSocket>[0])
  }

  #takeIdle({ key }: BlobRequest): BodySocket | undefined {
    const idle = this.#idle.get(key) ?? []
    for (let entry = idle.pop(); entry; entry = idle.pop()) {
      clearTimeout(entry.timer)
      entry.socket.resume()
      if (entry.socket.isUsable) return entry.socket
      this.#end(entry.socket)
    }
    return undefined
  }

  #keep(socket: BodySocket, key: string): void {
    const idle = this.#idle.get(key) ?? []
    if (this.#isClosed || !socket.isUsable || idle.length >= MAX_IDLE) return this.#end(socket)
    const timer = setTimeout(() => this.#end(socket), KEEP_ALIVE_MS)
    timer.unref()
    socket.rest(() => this.#end(socket))
    idle.push({ socket, timer })
    this.#idle.set(key, idle)
  }

  #end(socket: BodySocket): void {
    socket.destroy()
    this.#all.delete(socket)
  }
}

function closed(): Error {
  return Object.assign(new Error('this node is closing'), { code: 'UND_ERR_CLOSED' })
}

/** @throws an error with the code ETIMEDOUT; the reason of the signal */
async function inTime<Result>(
  work: Promise<Result>,
  limitMs: number,
  signal: AbortSignal,
): Promise<Result> {
  const late = new AbortController()
  const error = Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })
  const timer = setTimeout(() => late.abort(error), limitMs)
  try {
    return await abortable(work, AbortSignal.any([signal, late.signal]))
  } finally {
    clearTimeout(timer)
  }
}
