/**
 * The UDP socket under the DHT. Nothing reaches bittorrent-dht that has not passed, in this order:
 *
 *   open swarm    size ─▶ rate of the source ─▶ bencode ─▶ shape ─▶ an answer: was it asked for?
 *   closed swarm  size ─▶ forgeries of the source ─▶ seal ─▶ meant for us? ─▶ bencode ─▶ shape
 *                      ─▶ an answer: was it asked for? a question: rate of the member
 *        ─▶ the library, in a try
 *
 * and no answer leaves that is larger than its question allows; who only reads gives none. What is refused
 * is counted and forgotten: no answer, no line in the log.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { EventEmitter, once } from 'node:events'
import { isIPv4, isIPv6 } from 'node:net'
import type { AddressInfo } from 'node:net'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { AskedSources } from './asked-sources.ts'
import { formatPeerAddress, type PeerAddress } from './discovery.ts'
import { decodeDatagram } from './krpc-bencode.ts'
import { isQuestionMessage, isWellFormed } from './krpc-shape.ts'
import { MAX_MEMBER_MESSAGE_BYTES, MemberEnvelope } from './member-envelope.ts'
import { OwnAddresses } from './own-addresses.ts'
import type { DatagramSeal } from './sealed-datagram.ts'
import type { SourceLimit } from './source-limit.ts'

// Larger than any KRPC message of a sane client; one that must be put together from fragments is none.
const MAX_DATAGRAM_BYTES = 2048
const RECEIVE_BUFFER_BYTES = 2 ** 20
// As k-rpc encodes it.
const PING_BYTES = 56
// Keys are sorted, so that `y` comes last in everything that k-rpc encodes.
const END_OF_QUESTION = '1:y1:qe'
// BEP 43, and what comes after it in a question: `1:t2:xx` and the end.
const READ_ONLY = Buffer.from('2:roi1e')
const AFTER_READ_ONLY_BYTES = 14

export interface GuardedSocketOptions {
  /** port 0 picks a free one */
  readonly port: number
  /** an IPv4 address of this host; all of them without it */
  readonly host?: string | undefined
  /** closed swarm: what does not open is not even parsed */
  readonly seal?: DatagramSeal | undefined
  /**
   * How much each source may send: strangers count by address, known ones by address and port. In a closed
   * swarm the first is for what does not open only, and who can seal a question counts as known.
   */
  readonly limits: { readonly strangers: SourceLimit; readonly known: SourceLimit }
  /** answers nothing, and says so with what it asks (BEP 43), so that others do not ask */
  readonly isReadOnly?: boolean | undefined
  /** how often strangers that ask are pinged in turn; not at all without it */
  readonly strangerPings?: SourceLimit | undefined
  /** bytes that the answer to a question may have, and what else is sent for it */
  readonly maxReplyBytes: (question: { bytes: number; isKnown: boolean }) => number
  readonly log: Log
}

type SendCallback = (error: Error | null) => void
type SocketEvents = {
  listening: []
  message: [Buffer, RemoteInfo]
  /** who is not known asks and may be pinged: within what it may get for its question */
  stranger: [PeerAddress]
  close: []
  error: [Error]
}

/** A bound dgram socket as k-rpc-socket wants one. Who opened the DHT on it closes it with the DHT. */
export class GuardedSocket extends EventEmitter<SocketEvents> {
  readonly #socket: Socket
  readonly #options: GuardedSocketOptions
  readonly #asked = new AskedSources()
  readonly #envelope: MemberEnvelope | undefined
  #refusedCount = 0
  #replyBudget = 0
  #isClosed = false

  private constructor(socket: Socket, options: GuardedSocketOptions) {
    super()
    this.#socket = socket
    this.#options = options
    const { seal, host, limits } = options
    const ownAddresses = new OwnAddresses({ host, port: this.port })
    this.#envelope = seal && new MemberEnvelope({ seal, asked: this.#asked, ownAddresses, limits })
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

  /** The bytes that the reply to the question in hand may have; 0 while there is none. */
  get replyBudget(): number {
    return this.#replyBudget
  }

  /** Whether it answered us lately, so that its address is not forged. */
  isKnown(source: PeerAddress): boolean {
    return this.#asked.isKnown(formatPeerAddress(source))
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
    const said = bytes.subarray(offset, offset + length)
    const isQuestion = said.toString('latin1').endsWith(END_OF_QUESTION)
    const message = isQuestion && this.#options.isReadOnly === true ? readOnly(said) : said
    const maxBytes = isQuestion ? this.#maxQuestionBytes : this.#replyBudget
    if (this.#isClosed || !isUnicast(host) || length > maxBytes) {
      done(new Error('not sent'))
      return
    }
    if (isQuestion) this.#asked.ask(formatPeerAddress({ host, port }))
    else this.#replyBudget = maxBytes - length
    const datagram = this.#envelope ? this.#envelope.seal(message, { host, port }) : message
    this.#socket.send(datagram, port, host, done)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.close()
  }

  get #maxQuestionBytes(): number {
    return this.#envelope ? MAX_MEMBER_MESSAGE_BYTES : MAX_DATAGRAM_BYTES
  }

  #onDatagram(datagram: Buffer, source: RemoteInfo): void {
    if (!this.#passOn(datagram, source)) this.#refusedCount += 1
  }

  #passOn(datagram: Buffer, { address, port, ...rest }: RemoteInfo): boolean {
    if (this.#isClosed || port === 0 || datagram.length > MAX_DATAGRAM_BYTES) return false
    const from = { host: address, port }
    const source = formatPeerAddress(from)
    const isCounted = !this.#envelope && !this.#asked.isAwaited(source)
    if (isCounted && !this.#isWithinRate(address, source)) return false
    const message = this.#envelope ? this.#envelope.open(datagram, from) : datagram
    if (!message) return false
    const decoded = decodeDatagram(message)
    if (!isWellFormed(decoded)) return false
    const isQuestion = isQuestionMessage(decoded)
    if (isQuestion && this.#options.isReadOnly === true) return false
    if (!isQuestion && !this.#asked.takeAnswer(source)) return false
    // Now it shows that this is none of the answers which are let through without counting.
    if (isQuestion && !isCounted && !this.#isWithinRate(address, source)) return false
    this.#hand(message, { address, port, ...rest }, isQuestion)
    return true
  }

  #isWithinRate(address: string, source: string): boolean {
    const { strangers, known } = this.#options.limits
    const isTrusted = this.#envelope !== undefined || this.#asked.isKnown(source)
    return isTrusted ? known.take(source) : strangers.take(address)
  }

  #hand(message: Buffer, source: RemoteInfo, isQuestion: boolean): void {
    // The library answers within the call, so that what it sends now is the answer to this question.
    const from = { host: source.address, port: source.port }
    const isKnown = this.isKnown(from)
    const { maxReplyBytes, strangerPings, log } = this.#options
    const mayPing = isQuestion && !isKnown && strangerPings?.take(formatPeerAddress(from)) === true
    const maxBytes = isQuestion ? maxReplyBytes({ bytes: message.length, isKnown }) : 0
    this.#replyBudget = mayPing ? maxBytes - PING_BYTES : maxBytes
    try {
      // First, so that who goes on asking when it has the answer is known by then.
      if (mayPing) this.emit('stranger', from)
      this.emit('message', message, source)
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'a datagram failed in the DHT')
    } finally {
      this.#replyBudget = 0
    }
  }
}

function readOnly(question: Buffer): Buffer {
  const at = question.length - AFTER_READ_ONLY_BYTES
  return Buffer.concat([question.subarray(0, at), READ_ONLY, question.subarray(at)])
}

/** A stranger's list of nodes may name a broadcast or multicast address: nothing is sent there. */
function isUnicast(host: string): boolean {
  if (!isIPv4(host)) return false
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
