/**
 * The UDP socket under the DHT. Nothing reaches bittorrent-dht that has not passed, in this order:
 *
 *   size ─▶ MAC (closed swarm) ─▶ rate (open swarm) ─▶ bencode ─▶ shape ─▶ an answer: was it asked for?
 *        ─▶ the library, in a try
 *
 * and no answer leaves that is larger than its question allows. What is refused is counted and forgotten.
 * A source that once answered us is *known*: its address is not forged, so that it may ask for more.
 */
import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto'
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { EventEmitter, once } from 'node:events'
import { isIPv6 } from 'node:net'
import type { AddressInfo } from 'node:net'

import { LRUCache } from 'lru-cache'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { decodeDatagram } from './krpc-bencode.ts'
import { isQuestionMessage, isWellFormed } from './krpc-shape.ts'
import type { SourceLimit } from './source-limit.ts'

/** At the end of every datagram of a closed swarm. */
export const MAC_BYTES = 8
// Larger than any KRPC message of a sane client; one that must be put together from fragments is none.
const MAX_DATAGRAM_BYTES = 2048
const RECEIVE_BUFFER_BYTES = 2 ** 20
// An answer that takes longer than this has long been given up.
const ANSWER_WINDOW_MS = 10_000
const KNOWN_FOR_MS = 15 * 60_000
const MAX_SOURCES = 8192
// Keys are sorted, so that `y` comes last in everything that k-rpc encodes.
const END_OF_QUESTION = '1:y1:qe'

interface GuardedSocketOptions {
  /** port 0 picks a free one */
  readonly port: number
  /** an IPv4 address of this host; all of them without it */
  readonly host?: string | undefined
  /** closed swarm: datagrams without the right MAC are not even parsed */
  readonly macKey?: Uint8Array | undefined
  /** open swarm: how much strangers, and known sources, may send */
  readonly limits?: { readonly strangers: SourceLimit; readonly known: SourceLimit } | undefined
  /** bytes that the answer to a question may have */
  readonly maxReplyBytes: (question: { bytes: number; isKnown: boolean }) => number
  readonly log: Log
}

type SendCallback = (error: Error | null) => void
type SocketEvents = { listening: []; message: [Buffer, RemoteInfo]; close: []; error: [Error] }

/** A bound dgram socket as k-rpc-socket wants one. Who opened the DHT on it closes it with the DHT. */
export class GuardedSocket extends EventEmitter<SocketEvents> {
  readonly #socket: Socket
  readonly #options: GuardedSocketOptions
  // measured: an HMAC takes 2 µs with a key object and 11 µs with the bytes of the key
  readonly #macKey: KeyObject | undefined
  readonly #awaitedAnswers = new LRUCache<string, number>({
    max: MAX_SOURCES,
    ttl: ANSWER_WINDOW_MS,
  })
  readonly #known = new LRUCache<string, true>({ max: MAX_SOURCES, ttl: KNOWN_FOR_MS })
  #refusedCount = 0
  #replyBudget: number | undefined
  #isClosed = false

  private constructor(socket: Socket, options: GuardedSocketOptions) {
    super()
    this.#socket = socket
    this.#options = options
    this.#macKey = options.macKey && createSecretKey(options.macKey)
    socket.on('message', (datagram, source) => this.#onDatagram(datagram, source))
    socket.on('error', (error) => options.log.debug({ code: systemCodeOf(error) }, 'socket error'))
    socket.on('close', () => this.emit('close'))
  }

  /** @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE */
  static async open(options: GuardedSocketOptions): Promise<GuardedSocket> {
    const { port, host } = options
    if (host !== undefined && isIPv6(host)) throw unusable(options, 'the DHT speaks IPv4 only')
    const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES })
    try {
      socket.bind({ port, exclusive: true, ...(host === undefined ? {} : { address: host }) })
      await once(socket, 'listening')
    } catch (cause) {
      socket.close()
      throw bindError(options, cause)
    }
    return new GuardedSocket(socket, options)
  }

  get port(): number {
    return this.#socket.address().port
  }

  /** Datagrams that were not let through. */
  get refusedCount(): number {
    return this.#refusedCount
  }

  /** The bytes that the reply to the question in hand may have; undefined while there is none. */
  get replyBudget(): number | undefined {
    return this.#replyBudget
  }

  /** Bound already: only tells the library so. */
  bind(): void {
    this.emit('listening')
  }

  address(): AddressInfo {
    return this.#socket.address()
  }

  send(
    bytes: Buffer,
    offset: number,
    length: number,
    port: number,
    host: string,
    done: SendCallback,
  ): void {
    const message = bytes.subarray(offset, offset + length)
    const isQuestion = message.toString('latin1').endsWith(END_OF_QUESTION)
    const maxBytes = isQuestion ? MAX_DATAGRAM_BYTES : (this.#replyBudget ?? 0)
    if (this.#isClosed || !isUnicast(host) || length > maxBytes) {
      done(new Error('not sent'))
      return
    }
    if (isQuestion) this.#awaitAnswer(`${host}:${port}`)
    this.#socket.send(this.#seal(message), port, host, done)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.close()
  }

  #onDatagram(datagram: Buffer, source: RemoteInfo): void {
    if (!this.#passOn(datagram, source)) this.#refusedCount += 1
  }

  #passOn(datagram: Buffer, { address, port, ...rest }: RemoteInfo): boolean {
    if (this.#isClosed || port === 0 || datagram.length > MAX_DATAGRAM_BYTES) return false
    const message = this.#unseal(datagram)
    const source = `${address}:${port}`
    const isAwaited = this.#awaitedAnswers.has(source)
    if (!message || (!isAwaited && !this.#isWithinRate(address, source))) return false
    const decoded = decodeDatagram(message)
    if (!isWellFormed(decoded)) return false
    const isQuestion = isQuestionMessage(decoded)
    if (!isQuestion && !this.#takeAnswer(source)) return false
    // Now it shows that this is none of the answers which are let through without counting.
    if (isQuestion && isAwaited && !this.#isWithinRate(address, source)) return false
    this.#hand(message, { address, port, ...rest }, isQuestion)
    return true
  }

  #isWithinRate(address: string, source: string): boolean {
    const { limits } = this.#options
    if (!limits) return true
    return this.#known.has(source) ? limits.known.take(source) : limits.strangers.take(address)
  }

  #awaitAnswer(source: string): void {
    this.#awaitedAnswers.set(source, (this.#awaitedAnswers.get(source) ?? 0) + 1)
  }

  /** As many answers as questions: k-rpc puts whoever answers into its routing table, asked or not. */
  #takeAnswer(source: string): boolean {
    const awaited = this.#awaitedAnswers.get(source) ?? 0
    if (awaited === 0) return false
    if (awaited === 1) this.#awaitedAnswers.delete(source)
    else this.#awaitedAnswers.set(source, awaited - 1)
    this.#known.set(source, true)
    return true
  }

  #hand(message: Buffer, source: RemoteInfo, isQuestion: boolean): void {
    // The library answers within the call, so that what it sends now is the answer to this question.
    const isKnown = this.#known.has(`${source.address}:${source.port}`)
    const bytes = message.length
    this.#replyBudget = isQuestion ? this.#options.maxReplyBytes({ bytes, isKnown }) : undefined
    try {
      this.emit('message', message, source)
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'a datagram failed in the DHT')
    } finally {
      this.#replyBudget = undefined
    }
  }

  #seal(message: Buffer): Buffer {
    return this.#macKey ? Buffer.concat([message, macOf(message, this.#macKey)]) : message
  }

  #unseal(datagram: Buffer): Buffer | undefined {
    if (!this.#macKey) return datagram
    if (datagram.length <= MAC_BYTES) return undefined
    const message = datagram.subarray(0, -MAC_BYTES)
    return timingSafeEqual(datagram.subarray(-MAC_BYTES), macOf(message, this.#macKey))
      ? message
      : undefined
  }
}

function macOf(message: Uint8Array, key: KeyObject): Buffer {
  return createHmac('sha256', key).update(message).digest().subarray(0, MAC_BYTES)
}

/** A stranger's list of nodes may name a broadcast or multicast address: nothing is sent there. */
function isUnicast(host: string): boolean {
  const first = Number.parseInt(host, 10)
  return first > 0 && first < 224
}

function bindError(options: GuardedSocketOptions, cause: unknown): OperationError {
  const code = systemCodeOf(cause)
  if (code !== 'EADDRINUSE') return unusable(options, code ?? messageOf(cause), cause)
  const { host = '0.0.0.0', port } = options
  return new OperationError('PORT_IN_USE', `peer port ${host}:${port}/udp is in use`, {
    details: { host, port },
    cause,
  })
}

function unusable(
  { host = '0.0.0.0', port }: GuardedSocketOptions,
  found: string,
  cause?: unknown,
): OperationError {
  const message = `peer port ${host}:${port}/udp: wanted an address to bind, found ${found}`
  return new OperationError('ADDRESS_UNUSABLE', message, { details: { host, port, found }, cause })
}
