import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** The head of a response as it was on the wire; header names in lower case. */
export interface ResponseHead {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/** How the other side ended a connection: in order, or by a reset. */
export type ConnectionEnd = 'fin' | 'reset'

const HEAD_END = '\r\n\r\n'

/**
 * A TCP connection on which a test writes and reads HTTP byte by byte. It takes from the socket only what is
 * asked for, so that the other side feels the back-pressure.
 */
export class RawHttp implements Disposable {
  readonly socket: Socket
  readonly #chunks: Buffer[] = []
  #bufferedBytes = 0
  #end: ConnectionEnd | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.once('end', () => (this.#end ??= 'fin'))
    socket.once('error', () => (this.#end ??= 'reset'))
  }

  static async open(port: number, host = '127.0.0.1'): Promise<RawHttp> {
    const socket = connect({ port, host, allowHalfOpen: true })
    await once(socket, 'connect')
    return new RawHttp(socket)
  }

  send(content: string | Uint8Array): void {
    this.socket.write(content)
  }

  /** Writes a request without a body. */
  request(method: string, path: string, headers: Readonly<Record<string, string>> = {}): void {
    const lines = Object.entries({ Host: `127.0.0.1:${this.socket.remotePort}`, ...headers })
    const fields = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    this.send(`${method} ${path} HTTP/1.1\r\n${fields}\r\n`)
  }

  async readHead(): Promise<ResponseHead> {
    while (!this.#joined().includes(HEAD_END)) await this.#more('a response head')
    const headBytes = this.#joined().indexOf(HEAD_END) + HEAD_END.length
    const text = this.#take(headBytes).toString('latin1')
    const [statusLine = '', ...lines] = text.trimEnd().split('\r\n')
    const fields = lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
    return { status: Number(statusLine.split(' ')[1]), headers: Object.fromEntries(fields) }
  }

  async readBytes(length: number): Promise<Buffer> {
    while (this.#bufferedBytes < length) await this.#more(`${length} bytes`)
    return this.#take(length)
  }

  /** All that is still to come, and how the other side ended the connection. */
  async readToEnd(): Promise<{ bytes: Buffer; end: ConnectionEnd }> {
    while (await this.#pull());
    return { bytes: this.#take(this.#bufferedBytes), end: this.#end ?? 'reset' }
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }

  async #more(wanted: string): Promise<void> {
    if (await this.#pull()) return
    const found = JSON.stringify(this.#joined().toString('latin1').slice(0, 500))
    throw new Error(`wanted ${wanted}, found the connection ended (${this.#end}) after ${found}`)
  }

  async #pull(): Promise<boolean> {
    for (;;) {
      const chunk = this.socket.read() as Buffer | null
      if (chunk) {
        this.#chunks.push(chunk)
        this.#bufferedBytes += chunk.length
        return true
      }
      if (this.#end || this.socket.destroyed) return false
      await this.#somethingHappens()
    }
  }

  async #somethingHappens(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const events = ['readable', 'end', 'error', 'close']
    for (const event of events) this.socket.once(event, resolve)
    await promise
    for (const event of events) this.socket.off(event, resolve)
  }

  #take(length: number): Buffer {
    const all = this.#joined()
    this.#chunks[0] = all.subarray(length)
    this.#bufferedBytes -= length
    return all.subarray(0, length)
  }

  #joined(): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks.splice(0, this.#chunks.length, all)
    return all
  }
}
