import type { Socket } from 'node:net'

import type { BufferPool } from '../support/buffer-pool.ts'

// Whole TLS records (RFC 8446, 5.1: 16 KiB), and about what a wire may read from the disk at once (upload-queue.ts).
const CHUNK_BYTES = 128 * 1024

/**
 * Writes the messages of a wire: all of one turn of the loop leave in one write, which is one call of the system or of
 * TLS, and nothing that was given is looked at later. They are copied into chunks that are used again when the socket
 * is done with them; small messages come as Uint8Array, of which a Buffer could not be made without an allocation.
 */
export class OutgoingMessages {
  readonly #socket: Socket
  readonly #chunks: BufferPool
  #chunk: Buffer | undefined
  #filled = 0
  #isScheduled = false

  /** @param options.chunks shared by all wires of a process */
  constructor({ socket, chunks }: { socket: Socket; chunks: BufferPool }) {
    this.#socket = socket
    this.#chunks = chunks
  }

  /** Bytes that wait here and in the socket. */
  get unsentBytes(): number {
    return this.#filled + this.#socket.writableLength
  }

  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      this.#chunk ??= this.#chunks.take(CHUNK_BYTES)
      const part = bytes.subarray(at, at + CHUNK_BYTES - this.#filled)
      this.#chunk.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === CHUNK_BYTES) this.flush()
    }
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  /** Hands over what waits here. A chunk waits in the socket only if half of it is used: peers may read slowly. */
  flush(): void {
    const chunk = this.#chunk
    if (!chunk) return
    const messages = chunk.subarray(0, this.#filled)
    const giveBack = () => this.#chunks.give(chunk)
    this.#chunk = undefined
    this.#filled = 0
    if (this.#socket.destroyed || this.#socket.writableEnded) return giveBack()
    if (messages.length >= CHUNK_BYTES / 2) {
      this.#socket.write(messages, giveBack)
      return
    }
    this.#socket.write(Buffer.from(messages))
    giveBack()
  }
}
