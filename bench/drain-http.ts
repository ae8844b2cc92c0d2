import { connect } from 'node:net'

const BUFFER_BYTES = 1024 * 1024
const HEAD_END = Buffer.from('\r\n\r\n')

/** What a download looked like to a client that throws the bytes away. */
export interface Drained {
  readonly status: number
  /** of the body */
  readonly bytes: number
  /** ms from the request, connection included, to the first byte of the body, and to the last */
  readonly firstByteMs: number
  readonly lastByteMs: number
}

/**
 * GET by HTTP/1.1, as cheaply as this process can: one buffer, nothing kept. It ends with the connection.
 * @throws Error where the body is not as long as its Content-Length
 */
export async function drainHttp(address: string, path: string): Promise<Drained> {
  const [host = '', port] = address.split(':')
  const { promise, resolve, reject } = Promise.withResolvers<Drained>()
  const response = new ResponseCounter()
  const socket = connect({
    host,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
      callback: (length, buffer) => {
        response.onBytes(Buffer.from(buffer.buffer, buffer.byteOffset, length))
        return true
      },
    },
  })
  socket.once('error', reject)
  socket.once('close', () => {
    if (response.isWhole) resolve(response.drained)
    else reject(new Error(`${address}${path}: ${JSON.stringify(response.drained)} is not whole`))
  })
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`)
  return promise
}

class ResponseCounter {
  readonly #startedAtMs = performance.now()
  #head: Buffer | undefined = Buffer.alloc(0)
  #length = -1
  #status = 0
  #bytes = 0
  #firstByteMs = -1
  #lastByteMs = -1

  get isWhole(): boolean {
    return this.#status === 200 && this.#bytes === this.#length
  }

  get drained(): Drained {
    return {
      status: this.#status,
      bytes: this.#bytes,
      firstByteMs: this.#firstByteMs,
      lastByteMs: this.#lastByteMs,
    }
  }

  onBytes(bytes: Buffer): void {
    if (!this.#head) {
      this.#onBody(bytes.length)
      return
    }
    this.#head = Buffer.concat([this.#head, bytes])
    const end = this.#head.indexOf(HEAD_END)
    if (end < 0) return
    this.#onHead(this.#head.toString('latin1', 0, end))
    const bodyBytes = this.#head.length - end - HEAD_END.length
    this.#head = undefined
    if (bodyBytes > 0) this.#onBody(bodyBytes)
  }

  #onHead(head: string): void {
    this.#status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1])
    this.#length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? -1)
  }

  #onBody(length: number): void {
    this.#lastByteMs = performance.now() - this.#startedAtMs
    if (this.#firstByteMs < 0) this.#firstByteMs = this.#lastByteMs
    this.#bytes += length
  }
}
