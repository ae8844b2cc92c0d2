import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'

import { bencoded } from './bencoded.ts'
import type { PeerAddress } from '../discovery/discovery.ts'
import { decodeDatagram, type BencodeValue } from '../discovery/krpc-bencode.ts'

const ANSWER_TIMEOUT_MS = 5_000

/** What came back: the bytes, and what they say. */
export interface KrpcAnswer {
  readonly bytes: number
  readonly r: ReadonlyMap<string, BencodeValue>
}

/** For tests: a stranger on UDP that says to a node whatever it likes (BEP 5). */
export class KrpcClient implements AsyncDisposable {
  readonly #socket: Socket
  #transaction = 0

  private constructor(socket: Socket) {
    this.#socket = socket
  }

  static async open(): Promise<KrpcClient> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 2 ** 20 })
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    return new KrpcClient(socket)
  }

  get address(): PeerAddress {
    return { host: '127.0.0.1', port: this.#socket.address().port }
  }

  /** Called with every datagram. */
  onMessage(listener: (message: Buffer, source: RemoteInfo) => void): void {
    this.#socket.on('message', (datagram, source) => listener(datagram, source))
  }

  /** Sends bytes as they are. */
  async send(message: Uint8Array, { port, host }: PeerAddress): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<Error | null>()
    this.#socket.send(message, port, host, resolve)
    const error = await promise
    if (error) throw error
  }

  /** Asks, and waits for the answer to this question. */
  async ask(
    to: PeerAddress,
    { q, a, id = Buffer.alloc(20, 9) }: { q: string; a?: object; id?: Buffer },
  ): Promise<KrpcAnswer & { questionBytes: number }> {
    this.#transaction += 1
    const t = Buffer.alloc(2)
    t.writeUInt16BE(this.#transaction)
    const question = bencoded({ t, y: 'q', q, a: { id, ...a } })
    const answer = this.#answerTo(t)
    await this.send(question, to)
    return { ...(await answer), questionBytes: question.length }
  }

  async #answerTo(t: Buffer): Promise<KrpcAnswer> {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    for (;;) {
      const [datagram] = (await once(this.#socket, 'message', { signal })) as [Buffer]
      const message = datagram
      const fields = decodeDatagram(message)
      if (!(fields instanceof Map) || !isSame(fields.get('t'), t)) continue
      const r: unknown = fields.get('r')
      if (r instanceof Map) return { bytes: message.length, r }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#socket.close(resolve)
    await promise
  }
}

function isSame(value: unknown, bytes: Buffer): boolean {
  return Buffer.isBuffer(value) && value.equals(bytes)
}
