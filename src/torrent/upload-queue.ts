import type { Socket } from 'node:net'

import type Wire from 'bittorrent-protocol'

import { TokenBucket } from '../support/token-bucket.ts'
import { BLOCK_BYTES } from './piece-length.ts'

/** What a peer asks for (BEP 3, request). */
export interface BlockRequest {
  readonly index: number
  readonly offset: number
  readonly length: number
}

/** Where the blocks of one torrent are read. */
export interface BlockReader {
  hasPiece(index: number): boolean
  /** @param onBlock given the bytes, which are its own until it returns */
  readBlock(request: BlockRequest, onBlock: (bytes: Uint8Array) => void): Promise<void>
}

interface Lane {
  /** whose it is: who has proven to be there, or the host */
  readonly peer: string
  readonly wire: Wire
  readonly socket: Socket
  readonly reader: BlockReader
  readonly requests: BlockRequest[]
  reading: number
  readingBytes: number
}

/** A wire, and what is given over it. */
interface ServedWire {
  readonly reader: BlockReader
  readonly member?: string | undefined
}

/** What a peer may have outstanding; told to it as `reqq` in the extended handshake (BEP 10). */
export const MAX_REQUESTS_PER_WIRE = 512
// libtorrent and we ask for 16 KiB; some clients ask for more; 128 KiB is the old limit of BEP 3.
const MAX_BLOCK_BYTES = 8 * BLOCK_BYTES
// What may wait to be sent to one peer, in equal shares, and on one wire of it in any case: who does not read one of
// its wires for a while (a layer that it wants later) shall get what it asks for on another.
const MAX_UNSENT_PER_PEER = 512 * 1024
const MIN_UNSENT_PER_WIRE = 2 * BLOCK_BYTES
// Refusals of what may not be asked for.
const MAX_UNREAD_BYTES = 128 * 1024
const MAX_READS_PER_WIRE = 8

/**
 * Answers the requests of all peers: lane by lane in turn, first asked first answered, only as fast as the
 * socket takes the bytes and the upload limit lets them pass. What waits is a few numbers, never blocks.
 */
export class UploadQueue {
  readonly #lanes = new Set<Lane>()
  readonly #laneCounts = new Map<string, number>()
  #limit: TokenBucket | undefined
  #timer: NodeJS.Timeout | undefined
  #isPumping = false

  constructor({ bytesPerSecond }: { bytesPerSecond?: number } = {}) {
    this.#limit = bytesPerSecond === undefined ? undefined : new TokenBucket(bytesPerSecond)
  }

  /** Takes over the requests of a wire until it closes. @param member who has proven to be there */
  serve(wire: Wire, socket: Socket, { reader, member }: ServedWire): void {
    const peer = member ?? socket.remoteAddress ?? ''
    const lane: Lane = { peer, wire, socket, reader, requests: [], reading: 0, readingBytes: 0 }
    this.#lanes.add(lane)
    this.#laneCounts.set(peer, (this.#laneCounts.get(peer) ?? 0) + 1)
    wire._onRequest = (index, offset, length) => this.#onRequest(lane, { index, offset, length })
    wire._onCancel = (index, offset) => {
      const at = lane.requests.findIndex(
        (request) => request.index === index && request.offset === offset,
      )
      if (at >= 0) lane.requests.splice(at, 1)
    }
    socket.on('drain', () => this.#pump())
    wire.once('close', () => this.#onClose(lane))
  }

  /** From now on so many bytes a second. */
  limit(bytesPerSecond: number): void {
    this.#limit = new TokenBucket(bytesPerSecond)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#lanes.clear()
  }

  #onClose(lane: Lane): void {
    this.#lanes.delete(lane)
    const left = (this.#laneCounts.get(lane.peer) ?? 1) - 1
    if (left > 0) this.#laneCounts.set(lane.peer, left)
    else this.#laneCounts.delete(lane.peer)
  }

  /** Whether more may wait on a wire. */
  #isFull(lane: Lane): boolean {
    const share = MAX_UNSENT_PER_PEER / (this.#laneCounts.get(lane.peer) ?? 1)
    const unsent = lane.socket.writableLength + lane.readingBytes
    return unsent >= Math.max(MIN_UNSENT_PER_WIRE, share)
  }

  #onRequest(lane: Lane, request: BlockRequest): void {
    const { wire, reader, requests } = lane
    const isSound = request.offset >= 0 && request.length > 0 && request.length <= MAX_BLOCK_BYTES
    const isDeaf = lane.socket.writableLength > MAX_UNSENT_PER_PEER + MAX_UNREAD_BYTES
    if (!isSound || isDeaf || requests.length >= 2 * MAX_REQUESTS_PER_WIRE) {
      wire.destroy()
      return
    }
    if (
      wire.amChoking ||
      !reader.hasPiece(request.index) ||
      requests.length >= MAX_REQUESTS_PER_WIRE
    ) {
      if (wire.hasFast) wire.reject(request.index, request.offset, request.length)
      return
    }
    requests.push(request)
    this.#pump()
  }

  /** A lane that finished a piece goes to the end, so that whole pieces arrive one after the other. */
  #pump(): void {
    if (this.#timer || this.#isPumping) return
    this.#isPumping = true
    for (const lane of this.#lanes) {
      const index = lane.requests[0]?.index
      while (lane.requests[0]?.index === index && this.#serveOne(lane));
      if (this.#timer) break
      if (lane.requests.length === 0 || lane.requests[0]?.index === index) continue
      this.#lanes.delete(lane)
      this.#lanes.add(lane)
    }
    this.#isPumping = false
  }

  #serveOne(lane: Lane): boolean {
    const [request] = lane.requests
    if (!request || lane.reading >= MAX_READS_PER_WIRE || this.#isFull(lane)) return false
    const waitMs = this.#limit?.take(request.length) ?? 0
    if (waitMs > 0) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.#pump()
      }, waitMs)
      return false
    }
    lane.requests.shift()
    void this.#send(lane, request)
    return true
  }

  async #send(lane: Lane, request: BlockRequest): Promise<void> {
    const { wire, reader } = lane
    const { index, offset, length } = request
    lane.reading += 1
    lane.readingBytes += length
    try {
      await reader.readBlock(request, (block) => {
        if (!wire.destroyed) wire.piece(index, offset, block)
      })
    } catch {
      // The blob went away or the peer asked beyond its end: it will ask somebody else.
      if (!wire.destroyed && wire.hasFast) wire.reject(index, offset, length)
    } finally {
      lane.reading -= 1
      lane.readingBytes -= length
      this.#pump()
    }
  }
}
