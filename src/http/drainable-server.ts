import { once } from 'node:events'
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, ListenOptions, Socket } from 'node:net'

import { silentLog, type Log } from '../telemetry/log.ts'

/** Bounds of a server; every one has a default that suits registry clients. */
export interface ServerLimits {
  /** a Range of 1024 parts takes about 20 kB, and Node's own limit is 16 KiB for all headers together */
  readonly maxHeaderBytes: number
  /** longer than any client keeps an idle connection: Docker 30 s, Podman 90 s, BuildKit 120 s */
  readonly keepAliveTimeoutMs: number
  /** for the headers of one request; longer than the keep-alive */
  readonly headersTimeoutMs: number
  readonly maxConnections: number
}

export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  maxHeaderBytes: 64 * 1024,
  keepAliveTimeoutMs: 130_000,
  headersTimeoutMs: 140_000,
  maxConnections: 1024,
}

export interface ServerOptions {
  readonly limits?: Partial<ServerLimits>
  readonly log?: Log
}

/**
 * One HTTP/1.1 server on one address that can be drained. It has no `clientError` listener: Node's own answer
 * to what is not HTTP, a plain 400, is what makes Docker and containerd fall back from TLS.
 */
export class DrainableServer {
  readonly #server: Server
  readonly #log: Log
  /** responses under way on every open connection */
  readonly #connections = new Map<Socket, number>()
  #drained: Promise<void> | undefined

  constructor(listener: RequestListener, { limits = {}, log = silentLog }: ServerOptions = {}) {
    const bounds = { ...DEFAULT_SERVER_LIMITS, ...limits }
    this.#log = log
    this.#server = createServer(
      {
        maxHeaderSize: bounds.maxHeaderBytes,
        keepAliveTimeout: bounds.keepAliveTimeoutMs,
        headersTimeout: bounds.headersTimeoutMs,
        // A body may take hours, and a slow reader is no reason to cut it.
        requestTimeout: 0,
      },
      (request, response) => {
        this.#onRequest(request.socket, response)
        listener(request, response)
      },
    )
    this.#server.timeout = 0
    this.#server.maxConnections = bounds.maxConnections
    this.#server.on('connection', (socket) => this.#onConnection(socket))
  }

  /**
   * Binds. The part up to the bind is synchronous.
   * @returns what was bound: an address, or a path
   * @throws the system error of the bind
   */
  async start(where: ListenOptions): Promise<AddressInfo | string | null> {
    // who finds the system's queue full tries again after 1 s, then 3 s, then 7 s
    this.#server.listen({ backlog: this.#server.maxConnections, ...where })
    await once(this.#server, 'listening')
    // Without a listener, an accept that fails (EMFILE) would end the process.
    this.#server.on('error', (error) => this.#log.warn({ err: error }, 'connection not accepted'))
    return this.#server.address()
  }

  /** Stops accepting; responses under way have `timeoutMs`, then their connections are destroyed. */
  drain(timeoutMs: number): Promise<void> {
    this.#drained ??= this.#drain(timeoutMs)
    return this.#drained
  }

  async #drain(timeoutMs: number): Promise<void> {
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    for (const [socket, underWay] of this.#connections) if (underWay === 0) socket.destroySoon()
    const timer = setTimeout(() => this.#destroyAll(), timeoutMs)
    await closed
    clearTimeout(timer)
  }

  #destroyAll(): void {
    for (const socket of this.#connections.keys()) socket.destroy()
  }

  #onConnection(socket: Socket): void {
    this.#connections.set(socket, 0)
    socket.once('close', () => this.#connections.delete(socket))
  }

  #onRequest(socket: Socket, response: ServerResponse): void {
    // A write that meets a connection just closed reports here; who writes learns it by its signal.
    response.on('error', (error) => this.#log.debug({ err: error }, 'response not written'))
    if (this.#drained) response.setHeader('Connection', 'close')
    this.#addUnderWay(socket, 1)
    response.once('close', () => {
      this.#addUnderWay(socket, -1)
      if (this.#drained && this.#connections.get(socket) === 0) socket.destroySoon()
    })
  }

  #addUnderWay(socket: Socket, change: number): void {
    const underWay = this.#connections.get(socket)
    if (underWay !== undefined) this.#connections.set(socket, underWay + change)
  }
}
