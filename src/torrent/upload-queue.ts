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
  readonly wire: Wire
  readonly socket: Socket
  readonly reader: BlockReader
  readonly requests: BlockRequest[]
  reading: number
}

/** What a peer may have outstanding; told to it as `reqq` in the extended handshake (BEP 10). */
export const MAX_REQUESTS_PER_WIRE = 512
// libtorrent and we ask for 16 KiB; some clients ask for more; 128 KiB is the old limit of BEP 3.
const MAX_BLOCK_BYTES = 8 * BLOCK_BYTES
const MAX_UNSENT_BYTES = 512 * 1024
const MAX_READS_PER_WIRE = 8

/**
 * Answers the requests of all peers: lane by lane in turn, first asked first answered, only as fast as the
 * socket takes the bytes and the upload limit lets them pass. What waits is a few numbers, never blocks.
 */
export class UploadQueue {
  readonly #lanes = new Set<Lane>()
  #limit: TokenBucket | undefined
  #timer: NodeJS.Timeout | undefined
  #isPumping = false

  constructor({ bytesPerSecond }: { bytesPerSecond?: number } = {}) {
    this.#limit = bytesPerSecond === undefined ? undefined : new TokenBucket(bytesPerSecond)
  }

  /** Takes over the requests of a wire until it closes. */
  serve(wire: Wire, socket: Socket, reader: BlockReader): void {
    const lane: Lane = { wire, socket, reader, requests: [], reading: 0 }
    this.#lanes.add(lane)
    wire._onRequest = (index, offset, length) => this.#onRequest(lane, { index, offset, length })
    wire._onCancel = (index, offset) => {
      const at = lane.requests.findIndex(
        (request) => request.index === index && request.offset === offset,
      )
      if (at >= 0) lane.requests.splice(at, 1)
    }
    socket.on('drain', () => this.#pump())
    wire.once('close', () => this.#lanes.delete(lane))
  }

  /** From now on so many bytes a second. */
  limit(bytesPerSecond: number): void {
    this.#limit = new TokenBucket(bytesPerSecond)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#lanes.clear()
  }

  #onRequest(lane: Lane, request: BlockRequest): void {
    const { wire, reader, requests } = lane
    const isSound = request.offset >= 0 && request.length > 0 && request.length <= MAX_BLOCK_BYTES
    if (!isSound || requests.length >= 2 * MAX_REQUESTS_PER_WIRE) {
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
    const unsent = lane.socket.writableLength + lane.reading * BLOCK_BYTES
    if (!request || lane.reading >= MAX_READS_PER_WIRE || unsent >= MAX_UNSENT_BYTES) return false
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
    try {
      await reader.readBlock(request, (block) => {
        if (!wire.destroyed) wire.piece(index, offset, block)
      })
    } catch {
      // The blob went away or the peer asked beyond its end: it will ask somebody else.
      if (!wire.destroyed && wire.hasFast) wire.reject(index, offset, length)
    } finally {
      lane.reading -= 1
      this.#pump()
    }
  }
}
