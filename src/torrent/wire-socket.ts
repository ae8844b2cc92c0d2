import type { Socket } from 'node:net'

import type Wire from 'bittorrent-protocol'
import Peer from 'webtorrent/lib/peer.js'

import { asDictionary, decodeBencode, decodeBencodeHead } from '../support/bencode.ts'
import { BufferPool } from '../support/buffer-pool.ts'
import { readDirectly } from './direct-read.ts'
import { OutgoingMessages } from './outgoing-messages.ts'
import { BLOCK_BYTES } from './piece-length.ts'

interface WireSocketOptions {
  readonly wire: Wire
  readonly socket: Socket
  /** where bytes are read, one socket after the other */
  readonly scratch: Buffer
  /** where messages are written together */
  readonly chunks: BufferPool
}

/**
 * Joins a wire to its socket: bytes are parsed as they are read and written in one go per turn of the loop.
 * Replaces webtorrent's seven-stage stream pipeline, which copies every byte once more and spends half of a
 * leecher's processor time. Nothing behind the handshake is parsed before the torrent has attached its
 * handlers, so no early message is lost (webtorrent parses those into the void).
 */
class WireSocket {
  readonly #wire: Wire
  readonly #socket: Socket
  readonly #scratch: Buffer
  readonly #outgoing: OutgoingMessages
  /** the beginning of a message that has not come whole */
  #part = NOTHING
  #partBytes = 0
  #isOpenForMessages = false
  #isEnded = false

  constructor({ wire, socket, scratch, chunks }: WireSocketOptions) {
    this.#wire = wire
    this.#socket = socket
    this.#scratch = scratch
    this.#outgoing = new OutgoingMessages({ socket, chunks })
  }

  join(): void {
    this.#limitMessages()
    this.#endAtOnce()
    this.#sendDirectly()
    this.#holdUntilAttached()
    this.#socket.on('data', (bytes: Buffer) => this.#onBytes(bytes))
  }

  /** @param bytes overwritten by the next ones: what is needed longer is copied */
  #onBytes(bytes: Uint8Array): void {
    const wire = this.#wire
    let at = 0
    while (!this.#isOver()) {
      if (wire.peerId !== null && !this.#isOpenForMessages) break
      const size = wire._parserSize
      if (bytes.length - at + this.#partBytes < size) break
      const take = size - this.#partBytes
      const last = bytes.subarray(at, at + take)
      at += take
      this.#parse(this.#partBytes === 0 ? last : this.#completed(last))
    }
    if (at < bytes.length && !this.#isOver()) this.#keep(bytes.subarray(at))
  }

  #isOver(): boolean {
    return this.#isEnded || this.#wire._finished || this.#wire.destroying
  }

  /** The message of which this is the end; it lies there until the next part is kept. */
  #completed(last: Uint8Array): Uint8Array {
    this.#keep(last)
    const message = this.#part.subarray(0, this.#partBytes)
    this.#partBytes = 0
    if (this.#part.length > PART_BYTES) this.#part = NOTHING
    return message
  }

  #keep(bytes: Uint8Array): void {
    const size = this.#partBytes + bytes.length
    if (size > this.#part.length) {
      const wanted = Math.max(size, Math.min(2 * size, this.#wire._parserSize))
      const larger = Buffer.allocUnsafeSlow(Math.max(wanted, PART_BYTES))
      larger.set(this.#part.subarray(0, this.#partBytes))
      this.#part = larger
    }
    this.#part.set(bytes, this.#partBytes)
    this.#partBytes = size
  }

  /** A message that the library cannot read ends this connection, never the process. */
  #parse(message: Uint8Array): void {
    try {
      this.#wire._parser(this.#isRetained(message) ? Buffer.from(message) : message)
    } catch {
      this.#cutOff()
    }
  }

  #cutOff(): void {
    this.#isEnded = true
    this.#socket.destroy()
  }

  /** Whether the library, or who listens to it, may look at a message later: not at those that come by the thousand. */
  #isRetained([id]: Uint8Array): boolean {
    const wire = this.#wire
    if (wire._parser === wire._onMessageLength) return false
    return wire._parser !== wire._onMessage || !isPassing(id)
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
    let metadataQuestions = 0
    const extended = wire._onExtended.bind(wire)
    wire._onExtended = (extension, payload) => {
      handshakes += extension === 0 ? 1 : 0
      metadataQuestions += wire.extendedMapping[extension] === 'ut_metadata' ? 1 : 0
      const isTooOften =
        handshakes > MAX_EXTENDED_HANDSHAKES || metadataQuestions > maxMetadataQuestions(wire)
      const isSound = isSoundExtension(wire, extension, payload)
      if (isTooOften) this.#cutOff()
      else if (!isSound) wire.destroy()
      else extended(extension, payload)
    }
    wire._debug = () => {}
  }

  /** The library reads on behind an end until its stream has noticed, a turn or more later. */
  #endAtOnce(): void {
    const wire = this.#wire
    const end = wire.end.bind(wire)
    wire.end = (data) => {
      this.#isEnded = true
      return end(data)
    }
    wire.once('finish', () => (this.#isEnded = true))
  }

  #sendDirectly(): void {
    const socket = this.#socket
    const push = this.#wire.push.bind(this.#wire)
    this.#wire.push = (bytes) => {
      if (bytes === null) {
        this.#outgoing.flush()
        // The end of the stream, without which the wire would never close.
        return push(null)
      }
      if (socket.destroyed) return false
      if (this.#outgoing.unsentBytes > MAX_UNSENT_BYTES) {
        this.#cutOff()
        return false
      }
      this.#outgoing.send(bytes)
      return !socket.writableNeedDrain
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
    const held = this.#part.subarray(0, this.#partBytes)
    this.#part = NOTHING
    this.#partBytes = 0
    this.#onBytes(held)
    // What waits in the socket comes as `data`, and nothing does after that.
    while (this.#socket.read() !== null);
    readDirectly(this.#socket, this.#scratch, (bytes) => this.#onBytes(bytes))
    this.#socket.resume()
  }
}

const NOTHING = Buffer.alloc(0)
// As much as the system gives at once on loopback, and four TLS records.
const SCRATCH_BYTES = 64 * 1024
const MAX_IDLE_CHUNK_BYTES = 4 * 1024 * 1024
// BEP 3: what all clients ask for is a block of 16 KiB, which comes behind its kind, index and offset.
const PART_BYTES = 9 + BLOCK_BYTES
// BEP 3: have, request, piece, cancel. They are numbers, and a block that is copied to its place at once.
const PASSING = [4, 6, 7, 8]
// BEP 3, BEP 9: the longest are a block that we asked for, 16 KiB of metadata behind a dictionary, and a bitfield: this
// is one of 160,000 pieces, which is a blob of 640 GiB.
const MAX_MESSAGE_BYTES = 20 * 1024
// More than blocks ever wait (upload-queue.ts): this peer asks, for metadata perhaps, and does not read the answers.
const MAX_UNSENT_BYTES = 1024 * 1024
// libtorrent says 400 bytes; all of it is kept for as long as the connection.
const MAX_EXTENDED_HANDSHAKE_BYTES = 2048
const EXTENDED_HANDSHAKE_LIMITS = { depth: 3, values: 100 }
// BEP 9: pieces of the metadata; each may be asked for twice.
const METADATA_PIECE_BYTES = 16 * 1024
const SPARE_METADATA_QUESTIONS = 4
// BEP 10 allows a second handshake to change extensions; more is an attack.
const MAX_EXTENDED_HANDSHAKES = 3

/**
 * Whether the library may decode a BEP 10 payload: its own decoder never returns from some that are malformed.
 * ut_metadata (BEP 9) cuts its dictionary off at the first `ee`, as text, so that must be its true end.
 */
function isSoundExtension(wire: Wire, extension: number, payload: Uint8Array): boolean {
  if (extension === 0)
    return (
      payload.length <= MAX_EXTENDED_HANDSHAKE_BYTES &&
      asDictionary(decodeBencode(payload, EXTENDED_HANDSHAKE_LIMITS)) !== undefined
    )
  if (wire.extendedMapping[extension] !== 'ut_metadata') return true
  const head = decodeBencodeHead(payload)
  if (!head || !asDictionary(head.value)) return false
  const text = Buffer.from(payload.subarray(0, head.end)).toString('latin1')
  return /^[ -~]*$/.test(text) && text.indexOf('ee') + 2 === head.end
}

function maxMetadataQuestions({ extendedHandshake }: Wire): number {
  const bytes = Number(extendedHandshake['metadata_size'] ?? 0)
  return 2 * Math.ceil(bytes / METADATA_PIECE_BYTES) + SPARE_METADATA_QUESTIONS
}

function isPassing(id: number | undefined): boolean {
  return id !== undefined && PASSING.includes(id)
}

/** Makes every connection of webtorrent use {@link WireSocket}. Once per process is enough, twice does no harm. */
export function useWireSockets(): void {
  const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  const chunks = new BufferPool({ maxBytes: MAX_IDLE_CHUNK_BYTES })
  Peer.prototype.setThrottlePipes = function setThrottlePipes(this: Peer): void {
    const { conn: socket, wire } = this
    if (socket && wire) new WireSocket({ wire, socket, scratch, chunks }).join()
  }
}
