import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer, type AddressInfo, type Server as NetServer, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { isOperationError, OperationError, systemCodeOf } from '../errors.ts'
import type { RequestVerifier } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { Digest } from '../oci/digest.ts'
import { Turns, type EndTurn } from '../support/turns.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { ConnectionLimits, MAX_CONNECTIONS } from './connection-limits.ts'
import { normaliseHost } from './peer-directory.ts'
import {
  parseDigestQuestion,
  parseDigests,
  parseHello,
  parseNames,
  parseWarmOrder,
  PEER_ROUTES,
  STATUS_OUTDATED,
  type HeldBlob,
  type NodeHello,
  type WarmOrder,
  type WarmReport,
} from './peer-messages.ts'
import type { SecureChannel } from './secure-channel.ts'

/** What a node answers to its peers; `undefined` is "I do not have it". */
export interface PeerHandlers {
  hello(caller: NodeHello, address: string): NodeHello | Promise<NodeHello>
  have(digests: readonly Digest[]): Promise<readonly HeldBlob[]>
  /** @param swarmKey one that the peer has proven; undefined in the public swarm */
  references(names: readonly string[], swarmKey?: SwarmKey): Promise<readonly unknown[]>
  /** @param swarmKey as for {@link references} */
  metainfo(digest: Digest, swarmKey?: SwarmKey): Promise<Uint8Array | undefined>
  blob(digest: Digest): Promise<{ size: number; content: Readable } | undefined>
  warm(order: WarmOrder, options: { signal: AbortSignal }): AsyncIterable<WarmReport>
  /** @param nodeId who asks, and may be off the newest key; undefined where nobody proves it */
  keys(question: unknown, nodeId: string | undefined): Promise<object | undefined>
  /** the swarm key for who has this ticket, where it is honoured */
  join(ticketId: string): Promise<SwarmKey | undefined>
  /** takes over a socket on which BitTorrent begins; nothing was read from it */
  bitTorrent(socket: Socket): void
}

interface PeerServerOptions {
  /** all interfaces unless told otherwise */
  host?: string
  /** 0 picks a free one */
  port: number
  verifier: RequestVerifier
  handlers: PeerHandlers
  /** proves who connects; undefined where strangers may */
  channel?: SecureChannel | undefined
  log?: Log
}

interface Answer {
  readonly contentType: string
  readonly body: Uint8Array | Readable
  readonly size?: number
}

// BEP 3: a handshake begins with the length of its protocol's name
const BITTORRENT_FIRST_BYTE = 19
const FIRST_BYTE_TIMEOUT_MS = 10_000
const MAX_BODY_BYTES = 128 * 1024
// Questions of one member that are read and answered together, which is how many a node asks at once; the others wait.
const MAX_AT_ONCE = 4
// Whole blobs that are fetched for an answer together, of all members: each is in memory several times meanwhile.
const MAX_READS_AT_ONCE = 4
const SLICE_BYTES = 64 * 1024

/** The one TCP port for peers: tells BitTorrent from questions by the first byte, and proves who asks. */
export class PeerServer implements AsyncDisposable {
  readonly #options: PeerServerOptions
  readonly #front: NetServer
  readonly #http: Server
  readonly #log: Log
  readonly #limits = new ConnectionLimits()
  readonly #turns = new Turns({ capacity: MAX_AT_ONCE })
  readonly #blobTurns = new Turns({ capacity: 1 })
  readonly #reads = new Turns({ capacity: MAX_READS_AT_ONCE })
  readonly #answering = new WeakSet<Socket>()

  private constructor(options: PeerServerOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    this.#http = createHttpServer({ keepAliveTimeout: 60_000, requestTimeout: 30_000 })
    this.#http.on('request', (request, response) => void this.#onRequest(request, response))
    // Without a word: a client that began with an encrypted handshake says a plain one after that, and
    // Transmission 3 reads what it got before as the beginning of the answer.
    this.#http.on('clientError', (_error, socket) => socket.destroy())
    this.#front = createServer({ noDelay: true, pauseOnConnect: false })
    this.#front.maxConnections = MAX_CONNECTIONS
    this.#front.on('connection', (socket) => this.#onConnection(socket))
  }

  /** @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE */
  static async open(options: PeerServerOptions): Promise<PeerServer> {
    const server = new PeerServer(options)
    await server.#listen()
    return server
  }

  get port(): number {
    return (this.#front.address() as AddressInfo).port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#limits.closeAll()
    if (this.#front.listening) await new Promise((done) => this.#front.close(done))
    this.#http.closeAllConnections()
  }

  async #listen(): Promise<void> {
    const { host, port } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#front.once('error', reject)
    this.#front.listen({ port, ...(host !== undefined && { host }) }, resolve)
    try {
      await promise
    } catch (cause) {
      throw listenError(cause, `${host ?? '*'}:${port}`)
    }
    this.#front.removeAllListeners('error')
    this.#front.on('error', (error) =>
      this.#log.error({ error: error.message }, 'peer port failed'),
    )
  }

  #onConnection(socket: Socket): void {
    socket.on('error', () => {})
    if (!this.#limits.admit(socket)) {
      socket.destroy()
      return
    }
    // a stranger is told nothing, and has no time
    const timer = setTimeout(() => socket.destroy(), FIRST_BYTE_TIMEOUT_MS)
    socket.once('close', () => clearTimeout(timer))
    this.#open(socket, (opened) => {
      opened.once('readable', () => {
        clearTimeout(timer)
        if (this.#limits.onProven(socket, this.#options.channel?.memberAt(opened)))
          this.#route(opened)
        else opened.destroy()
      })
    })
  }

  /** Hands over a connection whose other side may speak. */
  #open(socket: Socket, onOpen: (socket: Socket) => void): void {
    const { channel } = this.#options
    if (!channel) {
      onOpen(socket)
      return
    }
    channel.accept(socket, onOpen)
  }

  #route(socket: Socket): void {
    const first: unknown = socket.read()
    if (!(first instanceof Buffer)) {
      socket.destroy()
      return
    }
    socket.unshift(first)
    const { channel } = this.#options
    const mayOnlyAsk =
      channel?.guestAt(socket) !== undefined || channel?.isOutdated(socket) === true
    if (first[0] !== BITTORRENT_FIRST_BYTE || mayOnlyAsk) {
      this.#http.emit('connection', socket)
      return
    }
    try {
      this.#options.handlers.bitTorrent(socket)
    } catch {
      socket.destroy()
    }
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request
    // Nodes wait for an answer before they ask the next question on a connection.
    if (this.#answering.has(socket)) {
      socket.destroy()
      return
    }
    this.#answering.add(socket)
    // A whole blob is the largest answer by far: one at a time, and over a slow link no other question waits for it.
    const turns = request.url === PEER_ROUTES.blob ? this.#blobTurns : this.#turns
    const endTurn = await turns.take(this.#askerAt(socket))
    if (!response.destroyed) await this.#answerInTurn(request, response, endTurn)
    endTurn()
    this.#answering.delete(socket)
  }

  async #answerInTurn(
    request: IncomingMessage,
    response: ServerResponse,
    endTurn: EndTurn,
  ): Promise<void> {
    const gone = new AbortController()
    response.once('close', () =>
      gone.abort(new OperationError('INTERRUPTED', 'the peer went away')),
    )
    // With the key that it gets it has to come again: what was proven with an old one stays so.
    if (this.#options.channel?.isOutdated(request.socket) === true)
      response.setHeader('Connection', 'close')
    try {
      const answer = await this.#answer(request, gone.signal)
      // It goes on for as long as a warm-up does, and is made as it is read.
      if (request.url === PEER_ROUTES.warm) endTurn()
      await send(response, answer)
    } catch (error) {
      this.#refuse(request, response, error)
    }
  }

  async #answer(request: IncomingMessage, signal: AbortSignal): Promise<Answer | undefined> {
    const { method = '', url = '' } = request
    const body = await readBody(request)
    const ticketId = this.#options.channel?.guestAt(request.socket)
    if (ticketId !== undefined) return this.#admit(ticketId, url)
    this.#options.verifier.verify({ method, path: url, body }, request.headers.authorization)
    const question: unknown = body.length === 0 ? {} : JSON.parse(body.toString())
    const { handlers, channel } = this.#options
    if (channel?.isOutdated(request.socket) === true && url !== PEER_ROUTES.keys) throw outdated()
    const swarmKey = channel?.keyAt(request.socket)
    switch (url) {
      case PEER_ROUTES.hello: {
        const caller = parseHello(question)
        this.#assertProven(request.socket, caller)
        return jsonAnswer(await handlers.hello(caller, request.socket.remoteAddress ?? ''))
      }
      case PEER_ROUTES.have:
        return jsonAnswer({ blobs: await handlers.have(parseDigests(question)) })
      case PEER_ROUTES.references:
        return jsonAnswer({ records: await handlers.references(parseNames(question), swarmKey) })
      case PEER_ROUTES.metainfo: {
        const metainfo = await handlers.metainfo(parseDigestQuestion(question), swarmKey)
        return metainfo && { contentType: 'application/x-bittorrent', body: metainfo }
      }
      case PEER_ROUTES.blob: {
        const blob = await this.#wholeBlob(parseDigestQuestion(question))
        return (
          blob && { contentType: 'application/octet-stream', body: blob.content, size: blob.size }
        )
      }
      case PEER_ROUTES.keys: {
        const answer = await handlers.keys(question, channel?.memberAt(request.socket))
        return answer && jsonAnswer(answer)
      }
      case PEER_ROUTES.warm: {
        const reports = handlers.warm(parseWarmOrder(question), { signal })
        return { contentType: 'application/x-ndjson', body: Readable.from(linesOf(reports)) }
      }
      default:
        return undefined
    }
  }

  async #wholeBlob(digest: Digest): ReturnType<PeerHandlers['blob']> {
    const endTurn = await this.#reads.take('')
    try {
      return await this.#options.handlers.blob(digest)
    } finally {
      endTurn()
    }
  }

  #askerAt(socket: Socket): string {
    return this.#options.channel?.memberAt(socket) ?? normaliseHost(socket.remoteAddress ?? '')
  }

  /** A guest has one thing to ask for. */
  async #admit(ticketId: string, url: string): Promise<Answer | undefined> {
    const isAsking = url === PEER_ROUTES.join
    const key = isAsking ? await this.#options.handlers.join(ticketId) : undefined
    this.#log.info({ ticket: ticketId, admitted: key !== undefined }, 'a guest came with an invite')
    return key && jsonAnswer({ swarmKey: key.toString('hex') })
  }

  /** In a closed swarm nobody can say hello as somebody else. */
  #assertProven(socket: Socket, { nodeId }: NodeHello): void {
    const { channel } = this.#options
    if (!channel || channel.memberAt(socket) === nodeId) return
    throw new OperationError(
      'REQUEST_UNPROVEN',
      'hello: wanted the node that its connection has proven, found another one',
    )
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const isStranger = isOperationError(error, 'REQUEST_UNPROVEN')
    const isOutdated = isOperationError(error, 'SWARM_KEY_OUTDATED')
    this.#log.debug(
      { peer: request.socket.remoteAddress, path: request.url, error: String(error) },
      'refused a request between nodes',
    )
    if (response.headersSent) {
      response.destroy()
      return
    }
    response.statusCode = isStranger ? 403 : isOutdated ? STATUS_OUTDATED : 400
    response.end()
  }
}

function outdated(): OperationError {
  return new OperationError(
    'SWARM_KEY_OUTDATED',
    'request between nodes: it is proven with a key that the swarm has changed since',
  )
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) {
      throw new OperationError(
        'MESSAGE_INVALID',
        `message between nodes: wanted at most ${MAX_BODY_BYTES} bytes`,
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function send(response: ServerResponse, answer: Answer | undefined): Promise<void> {
  if (!answer) {
    response.statusCode = 404
    response.end()
    return
  }
  const { contentType, body } = answer
  const size = body instanceof Readable ? answer.size : body.length
  response.setHeader('Content-Type', contentType)
  if (size !== undefined) response.setHeader('Content-Length', size)
  await pipeline(slicesOf(body instanceof Readable ? body : [body]), response)
}

/** What a peer does not read waits encrypted as well: as little of it as can be. */
async function* slicesOf(
  body: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array | string> {
  for await (const chunk of body) {
    if (typeof chunk === 'string') yield chunk
    else
      for (let at = 0; at < chunk.length; at += SLICE_BYTES)
        yield chunk.subarray(at, at + SLICE_BYTES)
  }
}

function jsonAnswer(value: unknown): Answer {
  return { contentType: 'application/json', body: Buffer.from(JSON.stringify(value)) }
}

async function* linesOf(reports: AsyncIterable<WarmReport>): AsyncIterable<string> {
  for await (const report of reports) yield `${JSON.stringify(report)}\n`
}

function listenError(cause: unknown, address: string): unknown {
  const code = systemCodeOf(cause)
  if (code === 'EADDRINUSE') {
    return new OperationError('PORT_IN_USE', `peer port: wanted ${address}, found it in use`, {
      cause,
    })
  }
  if (code === 'EADDRNOTAVAIL' || code === 'EACCES' || code === 'ENOTFOUND') {
    return new OperationError(
      'ADDRESS_UNUSABLE',
      `peer port: cannot listen on ${address} (${code})`,
      { cause },
    )
  }
  return cause
}
