import { EventEmitter } from 'node:events'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import type { PartialBlob } from '../store/blob-store.ts'
import type { DialedPeer } from '../torrent/connections.ts'
import type { Culprit, DownloadOrder } from './peer-side-protocol.ts'

interface DownloadEvents {
  /** a verified piece is in the partial blob and offered to others */
  piece: [index: number, bytes: number]
  /** a piece failed its hash, and it is proven that this peer sent wrong bytes of it; it was cut off */
  badPiece: [culprit: Culprit, index: number]
  /** a peer offers pieces and turns down every request for them; it was cut off */
  refused: [culprit: Culprit]
  /** all pieces are here; the whole has yet to be proven */
  complete: []
  failed: [error: unknown]
}

/** How the node has its orders carried out, whichever process does it now. */
interface Orders {
  download(order: DownloadOrder): Promise<void>
  close(end: { id: number; isKept: boolean }): Promise<void>
  dial(to: { id: number; endpoint: DialedPeer }): void
  foreignPiece(piece: { id: number; index: number }): void
}

const MAX_REMEMBERED = 64

/**
 * The pieces of one blob, fetched from peers by the peer side. When that begins anew, so does the download there, with
 * the pieces that are here and the peers that were dialed; nobody here notices but by the time it takes.
 */
export class RemoteDownload extends EventEmitter<DownloadEvents> {
  readonly id: number
  /** peers that could deliver now, and those that are connected */
  peers = { usable: 0, total: 0 }
  readonly #record: TorrentRecord
  readonly #partial: PartialBlob
  readonly #orders: Orders
  readonly #dialed = new Map<string, DialedPeer>()
  /** 1: counted as here */
  readonly #isHere: Uint8Array
  #missing: number
  #isClosed = false

  constructor(
    id: number,
    { record, partial, orders }: { record: TorrentRecord; partial: PartialBlob; orders: Orders },
  ) {
    super()
    this.id = id
    this.#record = record
    this.#partial = partial
    this.#orders = orders
    this.#isHere = new Uint8Array(partial.pieceCount)
    this.#missing = partial.pieceCount
    for (let index = 0; index < partial.pieceCount; index += 1)
      if (partial.hasPiece(index)) this.#count(index)
  }

  get isComplete(): boolean {
    return this.#missing === 0
  }

  get missingPieces(): number {
    return this.#missing
  }

  /**
   * Gives the order, for the first time or to a peer side that does not know it.
   * @throws what keeps the peer side from doing it
   */
  async start(): Promise<void> {
    if (this.#isClosed || this.isComplete) return
    this.peers = { usable: 0, total: 0 }
    const { id } = this
    const { path, bitfield } = this.#partial
    await this.#orders.download({ id, record: this.#record, path, bitfield })
    for (const endpoint of this.#dialed.values()) this.#orders.dial({ id, endpoint })
  }

  /** Connects to a peer unless it is connected or being connected. */
  dial(endpoint: DialedPeer): void {
    if (this.#dialed.size < MAX_REMEMBERED)
      this.#dialed.set(`${endpoint.host} ${endpoint.port}`, endpoint)
    this.#orders.dial({ id: this.id, endpoint })
  }

  /** A piece came from elsewhere and is in the partial blob: nobody is asked for it any more. */
  onForeignPiece(index: number): void {
    if (this.#isClosed || !this.#count(index)) return
    this.#orders.foreignPiece({ id: this.id, index })
    this.#finish()
  }

  /** The peer side says that it has written a piece. */
  onPiece(index: number): void {
    const { pieceCount, pieceLength, size } = this.#partial
    if (this.#isClosed || !Number.isInteger(index) || index < 0 || index >= pieceCount) return
    this.#partial.adoptPiece(index)
    if (!this.#count(index)) return
    this.emit('piece', index, Math.min(pieceLength, size - index * pieceLength))
    this.#finish()
  }

  /** The peer side cannot go on. */
  onFailed(error: unknown): void {
    if (!this.#isClosed) this.emit('failed', error)
  }

  /** Nothing is written any more when this returns. @param options.isKept what is whole is given to peers from now on */
  async close({ isKept }: { isKept: boolean }): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.removeAllListeners()
    await this.#orders.close({ id: this.id, isKept })
  }

  /** @returns whether it was not counted before */
  #count(index: number): boolean {
    if (this.#isHere[index] === 1) return false
    this.#isHere[index] = 1
    this.#missing -= 1
    return true
  }

  #finish(): void {
    if (this.#missing === 0) this.emit('complete')
  }
}
