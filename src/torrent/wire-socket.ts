import type { Socket } from 'node:net'

import type Wire from 'bittorrent-protocol'
import Peer from 'webtorrent/lib/peer.js'

import { asDictionary, decodeBencode, decodeBencodeHead } from '../support/bencode.ts'

/**
 * Joins a wire to its socket: bytes are parsed as they are read and written in one go per turn of the loop.
 * Replaces webtorrent's seven-stage stream pipeline, which copies every byte once more and spends half of a
 * leecher's processor time. Nothing behind the handshake is parsed before the torrent has attached its
 * handlers, so no early message is lost (webtorrent parses those into the void).
 */
class WireSocket {
  readonly #wire: Wire
  readonly #socket: Socket
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  #isOpenForMessages = false
  #isFlushing = false

  constructor(wire: Wire, socket: Socket) {
    this.#wire = wire
    this.#socket = socket
  }

  join(): void {
    this.#limitMessages()
    this.#sendDirectly()
    this.#holdUntilAttached()
    this.#socket.on('data', (bytes: Buffer) => this.#onBytes(bytes))
  }

  #onBytes(bytes: Uint8Array): void {
    const wire = this.#wire
    let at = 0
    while (!wire._finished && !wire.destroying) {
      if (wire.peerId !== null && !this.#isOpenForMessages) break
      const size = wire._parserSize
      if (bytes.length - at + this.#pendingBytes < size) break
      const take = size - this.#pendingBytes
      const part = bytes.subarray(at, at + take)
      at += take
      this.#parse(this.#pendingBytes === 0 ? part : this.#joinPending(part))
    }
    if (at < bytes.length) this.#keep(bytes.subarray(at))
  }

  #joinPending(last: Uint8Array): Uint8Array {
    const message = Buffer.concat([...this.#pending, last])
    this.#pending = []
    this.#pendingBytes = 0
    return message
  }

  #keep(bytes: Uint8Array): void {
    this.#pending.push(bytes)
    this.#pendingBytes += bytes.length
  }

  /** A message that the library cannot read ends this connection, never the process. */
  #parse(message: Uint8Array): void {
    try {
      this.#wire._parser(message)
    } catch {
      this.#socket.destroy()
    }
  }

  #limitMessages(): void {
    const wire = this.#wire
    const read = wire._onMessageLength.bind(wire)
    wire._onMessageLength = (buffer) => {
      if (new DataView(buffer.buffer, buffer.byteOffset).getUint32(0) > MAX_MESSAGE_BYTES)
        wire.destroy()
      else read(buffer)
    }
    let handshakes = 0
    const extended = wire._onExtended.bind(wire)
    wire._onExtended = (extension, payload) => {
      handshakes += extension === 0 ? 1 : 0
      const isSound =
        payload.length <= MAX_EXTENSION_BYTES && isSoundExtension(wire, extension, payload)
      if (handshakes > MAX_EXTENDED_HANDSHAKES || !isSound) wire.destroy()
      else extended(extension, payload)
    }
    wire._debug = () => {}
  }

  #sendDirectly(): void {
    const socket = this.#socket
    const push = this.#wire.push.bind(this.#wire)
    this.#wire.push = (bytes) => {
      // The end of the stream, without which the wire would never close.
      if (bytes === null) return push(null)
      if (socket.destroyed) return false
      if (!this.#isFlushing) {
        this.#isFlushing = true
        socket.cork()
        process.nextTick(() => {
          this.#isFlushing = false
          socket.uncork()
        })
      }
      // Small messages come as Uint8Array, and making a Buffer of one without a copy allocates outside the heap:
      // measured, 5 % of a leecher's time (bench/seed-to-leecher.ts).
      return socket.write(Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes))
    }
  }

  /** Opens for messages one turn after both handshakes: by then the torrent listens. */
  #holdUntilAttached(): void {
    const wire = this.#wire
    const open = () => {
      if (this.#isOpenForMessages || wire.peerId === null || !wire._handshakeSent) return
      setImmediate(() => this.#open())
    }
    const handshake = wire.handshake.bind(wire)
    wire.handshake = (infoHash, peerId, extensions) => {
      handshake(infoHash, peerId, extensions)
      open()
    }
    wire.once('handshake', () => {
      this.#socket.pause()
      open()
    })
  }

  #open(): void {
    if (this.#wire.destroyed || this.#socket.destroyed) return
    this.#isOpenForMessages = true
    const held = Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingBytes = 0
    this.#onBytes(held)
    this.#socket.resume()
  }
}

// Larger than any legal message: a bitfield of 400,000 pieces, or 128 KiB of a piece.
const MAX_MESSAGE_BYTES = 1024 * 1024
const MAX_EXTENSION_BYTES = 64 * 1024
// BEP 10 allows a second handshake to change extensions; more is an attack.
const MAX_EXTENDED_HANDSHAKES = 3

/**
 * Whether the library may decode a BEP 10 payload: its own decoder never returns from some that are malformed.
 * ut_metadata (BEP 9) cuts its dictionary off at the first `ee`, as text, so that must be its true end.
 */
function isSoundExtension(wire: Wire, extension: number, payload: Uint8Array): boolean {
  if (extension === 0) return asDictionary(decodeBencode(payload)) !== undefined
  if (wire.extendedMapping[extension] !== 'ut_metadata') return true
  const head = decodeBencodeHead(payload)
  if (!head || !asDictionary(head.value)) return false
  const text = Buffer.from(payload.subarray(0, head.end)).toString('latin1')
  return /^[ -~]*$/.test(text) && text.indexOf('ee') + 2 === head.end
}

/** Makes every connection of webtorrent use {@link WireSocket}. Once per process is enough, twice does no harm. */
export function useWireSockets(): void {
  Peer.prototype.setThrottlePipes = function setThrottlePipes(this: Peer): void {
    const { conn, wire } = this
    if (conn && wire) new WireSocket(wire, conn).join()
  }
}
