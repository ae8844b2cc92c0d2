/** A member of a closed swarm that wants as much of a node's memory as it can get. */
import { once } from 'node:events'
import type { Socket } from 'node:net'

import { makeNodeIdentity } from '../membership/node-identity.ts'
import { proveRequest } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Digest } from '../oci/digest.ts'
import { memberSecrets } from '../peering/channel-secret.ts'
import { PEER_ROUTES } from '../peering/peer-messages.ts'
import { SecureChannel } from '../peering/secure-channel.ts'
import { handshake, message } from './wire-fuzz.ts'

/** What a connection does after it was let in; it never reads more than it must. */
export type Greed =
  /** nothing more */
  | 'nothing'
  /** all that is allowed to a peer that does not read, and more blocks than it may have outstanding */
  | 'all that is allowed'
  /** a thousand blocks, each far from the others */
  | 'blocks'
  /** asks for the metadata again and again */
  | 'metadata'
  /** begins a message of a MiB and does not end it */
  | 'half message'
  /** has eight million pieces */
  | 'bitfield'
  /** introduces itself with as many words as fit */
  | 'handshake'
  /** asks for a small blob, and does not read it */
  | 'whole blob'
  /** asks for it again and again, without waiting */
  | 'whole blobs'
  /** begins a question and does not end it */
  | 'half question'

/** A node, and what it holds. */
export interface GreedTarget {
  readonly port: number
  readonly swarmKey: SwarmKey
  readonly torrents: readonly { readonly infoHash: string; readonly pieceCount: number }[]
  /** one that is given in one answer */
  readonly smallBlob: Digest
}

const BLOCK_BYTES = 16_384
const PIPELINED = 500
const QUESTION_BYTES = 256 * 1024
const HALF_MESSAGE_BYTES = 1024 * 1024
// As much as may come, less a byte (torrent/wire-socket.ts).
const ALLOWED_MESSAGE_BYTES = 20 * 1024
const ALLOWED_WORDS = 90
const ALLOWED_METADATA_QUESTIONS = 6

/** Connections of one identity. */
export class GreedyMember implements Disposable {
  readonly #target: GreedTarget
  readonly #channel: SecureChannel
  readonly #sockets: Socket[] = []
  #wires = 0

  constructor(target: GreedTarget) {
    this.#target = target
    const secrets = memberSecrets(new SwarmKeys(target.swarmKey))
    this.#channel = new SecureChannel({ secrets, identity: makeNodeIdentity() })
  }

  /** Connections that the node has not ended. */
  get openConnections(): number {
    return this.#sockets.filter(({ destroyed }) => !destroyed).length
  }

  /** One more connection, on which it is greedy until the node ends it. */
  async connect(greed: Greed): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>()
    const socket = this.#channel.dial({ host: '127.0.0.1', port: this.#target.port }, resolve)
    this.#sockets.push(socket)
    socket.on('error', () => {})
    if (await promise) return
    if (greed === 'whole blob') this.#ask(socket, 1)
    else if (greed === 'whole blobs') this.#ask(socket, PIPELINED)
    else if (greed === 'half question') this.#beginQuestion(socket)
    else await this.#joinWire(socket, greed)
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #ask(socket: Socket, count: number): void {
    const body = Buffer.from(JSON.stringify({ digest: this.#target.smallBlob }))
    const questions = Array.from({ length: count }, () => {
      const request = { method: 'POST', path: PEER_ROUTES.blob, body }
      const proof = proveRequest(request, this.#target.swarmKey)
      return headOf(body.length, proof) + body.toString()
    })
    socket.pause()
    socket.write(questions.join(''))
  }

  #beginQuestion(socket: Socket): void {
    socket.write(headOf(QUESTION_BYTES, 'none') + ' '.repeat(QUESTION_BYTES - 1))
  }

  async #joinWire(socket: Socket, greed: Greed): Promise<void> {
    const { torrents } = this.#target
    const torrent = torrents[this.#wires % torrents.length]
    this.#wires += 1
    if (!torrent) return
    const hello = handshake(torrent.infoHash)
    // The end of a peer id: another one each time.
    hello.write(String(Math.random()).slice(2, 14).padEnd(12, '0'), hello.length - 12)
    const answered = Promise.race([once(socket, 'data'), once(socket, 'close')])
    socket.write(hello)
    await answered.catch(() => {})
    socket.pause()
    if (!socket.destroyed) socket.write(Buffer.concat([...messagesOf(greed, torrent.pieceCount)]))
  }
}

function headOf(bytes: number, proof: string): string {
  const lines = [`Content-Length: ${bytes}`, `Authorization: ${proof}`]
  return `POST ${PEER_ROUTES.blob} HTTP/1.1\r\nHost: x\r\n${lines.join('\r\n')}\r\n\r\n`
}

function* messagesOf(greed: Greed, pieceCount: number): Generator<Buffer> {
  switch (greed) {
    case 'half message':
      yield message(5, Buffer.alloc(HALF_MESSAGE_BYTES)).subarray(0, -1)
      break
    case 'bitfield':
      yield message(5, Buffer.alloc(HALF_MESSAGE_BYTES))
      break
    case 'handshake':
      yield introduction(20_000)
      break
    case 'metadata':
      yield introduction(0)
      yield* metadataQuestions(2000)
      break
    case 'blocks':
      yield message(2)
      yield* requests(1000, pieceCount)
      break
    case 'all that is allowed':
      yield introduction(ALLOWED_WORDS)
      yield message(5, Buffer.alloc(Math.ceil(pieceCount / 8)))
      yield* metadataQuestions(ALLOWED_METADATA_QUESTIONS)
      yield message(2)
      yield* requests(700, pieceCount)
      yield message(5, Buffer.alloc(ALLOWED_MESSAGE_BYTES - 1)).subarray(0, -1)
      break
    default:
  }
}

function introduction(words: number): Buffer {
  const content = `d1:md11:ut_metadatai1ee1:xl${'0:'.repeat(words)}ee`
  return message(20, Buffer.of(0), Buffer.from(content))
}

function* metadataQuestions(count: number): Generator<Buffer> {
  const ask = message(20, Buffer.of(1), Buffer.from('d8:msg_typei0e5:piecei0ee'))
  for (let asked = 0; asked < count; asked += 1) yield ask
}

function* requests(count: number, pieceCount: number): Generator<Buffer> {
  for (let asked = 0; asked < count; asked += 1)
    yield message(6, (asked * 7) % pieceCount, (asked % 16) * BLOCK_BYTES, BLOCK_BYTES)
}
