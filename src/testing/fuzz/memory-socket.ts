import { Duplex } from 'node:stream'

/** Where a stranger seems to be; an address of documents only (RFC 5737). */
const HOST = '203.0.113.1'

/**
 * A TCP connection without a network: bytes are handed in within one call, and what goes out is counted and forgotten,
 * or waits for ever, as with a peer that does not read.
 */
export class MemorySocket extends Duplex {
  readonly remoteAddress = HOST
  readonly remotePort: number
  readonly #isDeaf: boolean
  sentBytes = 0

  constructor({ port, isDeaf = false }: { port: number; isDeaf?: boolean }) {
    super({ allowHalfOpen: false })
    this.remotePort = port
    this.#isDeaf = isDeaf
    this.on('error', () => {})
  }

  /** What comes in, as its reader would get it from the kernel. */
  deliver(bytes: Uint8Array): void {
    this.emit('data', bytes)
  }

  setNoDelay(): this {
    return this
  }

  setTimeout(): this {
    return this
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, onDone: () => void): void {
    this.sentBytes += chunk.length
    if (!this.#isDeaf) onDone()
  }

  override _writev(chunks: { chunk: Uint8Array }[], onDone: () => void): void {
    for (const { chunk } of chunks) this.sentBytes += chunk.length
    if (!this.#isDeaf) onDone()
  }
}
