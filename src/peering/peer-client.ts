import { EventEmitter } from 'node:events'
import {
  Agent,
  request as httpRequest,
  type ClientRequestArgs,
  type IncomingMessage,
} from 'node:http'
import { connect } from 'node:net'

import { OperationError, systemCodeOf } from '../errors.ts'
import { proveRequest } from '../membership/request-proof.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Digest } from '../oci/digest.ts'
import { deadline } from '../support/deadline.ts'
import { connectOptions, type SeveralHosts } from '../support/several-hosts.ts'
import { readLines } from '../support/text-lines.ts'
import {
  MAX_WHOLE_BLOB_BYTES,
  parseHeldBlobs,
  parseHello,
  parseRecordList,
  parseWarmReport,
  PEER_ROUTES,
  STATUS_OUTDATED,
  type HeldBlob,
  type NodeHello,
  type WarmOrder,
  type WarmReport,
} from './peer-messages.ts'
import type { SecureChannel } from './secure-channel.ts'

/** Where a peer takes connections. */
interface Address extends SeveralHosts {
  /** who has to be there, in a closed swarm */
  readonly nodeId?: string
}

interface AskOptions {
  signal?: AbortSignal
  timeoutMs?: number
}

const DEFAULT_TIMEOUT_MS = 3000
const MAX_ANSWER_BYTES = 4 * 1024 * 1024
const MAX_REPORT_SILENCE_MS = 60_000
// a message of 2000 characters and a few numbers, in JSON
const MAX_REPORT_CHARS = 64 * 1024

/**
 * Asks peers; every question carries a fresh proof, every answer is bounded and parsed. Tells of those who say that the
 * swarm has a newer key.
 */
export class PeerClient extends EventEmitter<{ outdated: [Address] }> implements Disposable {
  readonly #keys: SwarmKeys
  readonly #channel: SecureChannel | undefined
  /** failures of connections that were there before */
  readonly #cutOff = new WeakSet<Error>()
  readonly #agent = new Agent({
    keepAlive: true,
    maxSockets: 4,
    maxFreeSockets: 2,
    timeout: 60_000,
  })

  /** @param channel to members of a closed swarm; without it questions go out in the open */
  constructor(keys: SwarmKeys, channel?: SecureChannel) {
    super()
    this.#keys = keys
    this.#channel = channel
    this.#agent.createConnection = channel ? dialThrough(channel) : dialPlainly
  }

  /**
   * @returns who is there, and the address of it that answered
   * @throws OperationError NODE_UNREACHABLE, REQUEST_UNPROVEN, MESSAGE_INVALID
   */
  async hello(
    peer: Address,
    self: NodeHello,
    options?: AskOptions,
  ): Promise<NodeHello & { reachedAt?: string }> {
    const response = await this.#ask(peer, PEER_ROUTES.hello, self, options)
    if (!response) throw unreachable(peer, 'it does not say who it is')
    const member = this.#memberBehind(response)
    const { remoteAddress } = response.socket
    const hello = parseHello(await readJson(response, peer))
    if (member === undefined || member === hello.nodeId)
      return { ...hello, ...(remoteAddress !== undefined && { reachedAt: remoteAddress }) }
    throw new OperationError(
      'MESSAGE_INVALID',
      `node at ${peer.host}:${peer.port}: it says that it is another one than it has proven to be`,
    )
  }

  /** @throws as {@link hello} */
  async have(peer: Address, digests: readonly Digest[], options?: AskOptions): Promise<HeldBlob[]> {
    return parseHeldBlobs(await this.#askJson(peer, PEER_ROUTES.have, { digests }, options))
  }

  /** Records as they came, each yet to be proven. @throws as {@link hello} */
  async references(
    peer: Address,
    names: readonly string[],
    options?: AskOptions,
  ): Promise<unknown[]> {
    return parseRecordList(await this.#askJson(peer, PEER_ROUTES.references, { names }, options))
  }

  /** bencode { r, i }, yet to be proven; undefined where the peer has none. @throws as {@link hello} */
  async metainfo(peer: Address, digest: Digest, options?: AskOptions): Promise<Buffer | undefined> {
    const response = await this.#ask(peer, PEER_ROUTES.metainfo, { digest }, options)
    return response && readAll(response, MAX_ANSWER_BYTES)
  }

  /**
   * The bytes of a small blob as they come, at most `maxBytes`; yet to be verified.
   * @throws as {@link hello}
   */
  async blob(
    peer: Address,
    digest: Digest,
    { maxBytes = MAX_WHOLE_BLOB_BYTES, ...options }: AskOptions & { maxBytes?: number } = {},
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const response = await this.#ask(
      peer,
      PEER_ROUTES.blob,
      { digest },
      { timeoutMs: 30_000, ...options },
    )
    return response && bounded(response, maxBytes)
  }

  /** Orders of new keys as they came, each yet to be proven. @throws as {@link hello} */
  async keys(peer: Address, question: object, options?: AskOptions): Promise<unknown> {
    return this.#askJson(peer, PEER_ROUTES.keys, question, options)
  }

  /** Orders a warm-up and follows it; a minute of silence is a failure. @throws as {@link hello} */
  async *warm(
    peer: Address,
    order: WarmOrder,
    { signal }: AskOptions = {},
  ): AsyncIterable<WarmReport> {
    const watchdog = new AbortController()
    const silent = setTimeout(() => watchdog.abort(), MAX_REPORT_SILENCE_MS)
    const merged = signal ? AbortSignal.any([signal, watchdog.signal]) : watchdog.signal
    try {
      const response = accept(
        await this.#send(peer, PEER_ROUTES.warm, order, merged),
        `${peer.host}:${peer.port}`,
      )
      if (!response) throw unreachable(peer, 'it takes no orders')
      for await (const line of readLines(response, { maxChars: MAX_REPORT_CHARS })) {
        silent.refresh()
        yield parseWarmReport(parseLine(line, peer))
      }
    } catch (error) {
      throw signal?.aborted ? error : translate(error, peer)
    } finally {
      clearTimeout(silent)
      watchdog.abort()
    }
  }

  /** Ends the connections to an address that nothing is asked over now. */
  hangUp({ host, port }: Address): void {
    const idle = this.#agent.freeSockets[this.#agent.getName({ host, port })] ?? []
    for (const socket of idle) socket.destroy()
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  async #askJson(
    peer: Address,
    path: string,
    question: object,
    options?: AskOptions,
  ): Promise<unknown> {
    const response = await this.#ask(peer, path, question, options)
    if (!response) throw unreachable(peer, `it does not answer ${path}`)
    return readJson(response, peer)
  }

  async #ask(
    peer: Address,
    path: string,
    question: object,
    { signal, timeoutMs = DEFAULT_TIMEOUT_MS }: AskOptions = {},
  ): Promise<IncomingMessage | undefined> {
    let response: IncomingMessage
    try {
      const timed = deadline(timeoutMs, signal)
      response = await this.#sendAgainWhereCutOff(peer, path, question, timed)
    } catch (error) {
      signal?.throwIfAborted()
      throw translate(error, peer)
    }
    if (response.statusCode === STATUS_OUTDATED) this.emit('outdated', peer)
    const member = this.#memberBehind(response)
    if (peer.nodeId === undefined || member === undefined || member === peer.nodeId)
      return accept(response, `${peer.host}:${peer.port}`)
    response.destroy()
    throw unreachable(peer, `node ${member.slice(0, 16)} is there now`)
  }

  /** Who answers, as its connection has proven; undefined in the public swarm. */
  #memberBehind({ socket }: IncomingMessage): string | undefined {
    return this.#channel?.memberAt(socket)
  }

  /**
   * A connection that was kept may end just then: of age, or with the key that it was proven with. That says nothing of
   * the peer, so it is asked over a new one.
   */
  async #sendAgainWhereCutOff(
    peer: Address,
    path: string,
    question: object,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    try {
      return await this.#send(peer, path, question, signal)
    } catch (error) {
      if (signal.aborted || !(error instanceof Error) || !this.#cutOff.has(error)) throw error
      this.hangUp(peer)
      return this.#send(peer, path, question, signal)
    }
  }

  async #send(
    { host, port, otherHosts, nodeId }: Address,
    path: string,
    question: object,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const body = Buffer.from(JSON.stringify(question))
    const method = 'POST'
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const forWhoConnects = { otherHosts, nodeId }
    const request = httpRequest({
      ...forWhoConnects,
      host,
      port,
      path,
      method,
      agent: this.#agent,
      signal,
      headers: {
        'Content-Type': 'application/json',
        'Content-Length': body.length,
      },
    })
    request.once('response', resolve)
    request.once('error', (error) => {
      if (request.reusedSocket) this.#cutOff.add(error)
      reject(error)
    })
    request.setNoDelay(true)
    request.once('socket', (socket) => {
      // the key that the other side has shown to have
      const key = this.#channel?.keyAt(socket) ?? this.#keys.current
      request.setHeader('Authorization', proveRequest({ method, path, body }, key))
      request.end(body)
    })
    return promise
  }
}

/** Connections of an agent, each handed over when its other side has proven who it is. */
export function dialThrough(channel: SecureChannel): Agent['createConnection'] {
  return (options, onConnected) => {
    const address = addressIn(options)
    const dial = () => {
      const socket = channel.dial(address, (error) => {
        if (error && channel.hasOtherKeyFor(address, error)) dial()
        else onConnected?.(error ?? null, socket)
      })
    }
    dial()
    return undefined
  }
}

const dialPlainly: Agent['createConnection'] = (options) =>
  connect({ ...connectOptions(addressIn(options)), keepAlive: true })

/** An agent hands on what the request was made with. */
function addressIn(options: ClientRequestArgs & Partial<Omit<Address, 'host' | 'port'>>): Address {
  const { host, port, otherHosts = [], nodeId } = options
  return {
    host: host ?? '',
    port: Number(port),
    otherHosts,
    ...(nodeId !== undefined && { nodeId }),
  }
}

function accept(response: IncomingMessage, peer: string): IncomingMessage | undefined {
  if (response.statusCode === 200) return response
  response.resume()
  if (response.statusCode === 404) return undefined
  if (response.statusCode === 403) {
    throw new OperationError('REQUEST_UNPROVEN', `${peer} did not take the proof of this node`)
  }
  if (response.statusCode === STATUS_OUTDATED) {
    throw new OperationError(
      'SWARM_KEY_OUTDATED',
      `${peer}: the swarm has a newer key than this node`,
    )
  }
  throw new OperationError('MESSAGE_INVALID', `${peer} answered with status ${response.statusCode}`)
}

async function* bounded(response: IncomingMessage, maxBytes: number): AsyncIterable<Uint8Array> {
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes) {
      throw new OperationError(
        'BLOB_SIZE_MISMATCH',
        `blob from a peer: wanted at most ${maxBytes} bytes`,
      )
    }
    yield chunk
  }
}

async function readJson(response: IncomingMessage, { host, port }: Address): Promise<unknown> {
  const body = await readAll(response, MAX_ANSWER_BYTES)
  try {
    return JSON.parse(body.toString())
  } catch (cause) {
    throw new OperationError('MESSAGE_INVALID', `answer of ${host}:${port}: wanted JSON`, { cause })
  }
}

function parseLine(line: string, { host, port }: Address): unknown {
  try {
    return JSON.parse(line)
  } catch (cause) {
    throw new OperationError('MESSAGE_INVALID', `report of ${host}:${port}: wanted JSON`, { cause })
  }
}

async function readAll(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bounded(response, maxBytes)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function translate(error: unknown, peer: Address): unknown {
  if (error instanceof OperationError) return error
  if (error instanceof RangeError) {
    const message = `report of ${peer.host}:${peer.port}: ${error.message}`
    return new OperationError('MESSAGE_INVALID', message, { cause: error })
  }
  const code = systemCodeOf(error)
  if (code?.startsWith('ERR_SSL_')) {
    return new OperationError(
      'REQUEST_UNPROVEN',
      `node at ${peer.host}:${peer.port}: it is not of this swarm (${code})`,
      { cause: error },
    )
  }
  const isTimeout =
    error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError')
  return unreachable(peer, isTimeout ? 'it did not answer in time' : (code ?? String(error)), error)
}

function unreachable({ host, port }: Address, why: string, cause?: unknown): OperationError {
  return new OperationError('NODE_UNREACHABLE', `node at ${host}:${port}: ${why}`, { cause })
}
