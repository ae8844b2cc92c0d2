import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'

import type Wire from 'bittorrent-protocol'
import type { Torrent } from 'webtorrent'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { BufferPool } from '../support/buffer-pool.ts'
import type { TokenBucket } from '../support/token-bucket.ts'
import { BadPieces } from './bad-pieces.ts'
import type { PieceStore } from './block-source.ts'
import { pieceHashOf } from './metainfo.ts'
import { PieceAvailability } from './piece-availability.ts'
import { PeerLink, type Culprit } from './peer-link.ts'
import { PeerLinks } from './peer-links.ts'
import { PieceDownload } from './piece-download.ts'
import { BLOCK_BYTES } from './piece-length.ts'
import { pickPiece } from './piece-picker.ts'

interface DownloadEvents {
  /** a verified piece is in the partial blob and offered to others */
  piece: [index: number, bytes: number]
  /** a piece failed its hash, and it is proven that this peer sent wrong bytes of it */
  badPiece: [culprit: Culprit, index: number]
  /** a peer offers pieces and turns down every request for them; it was cut off */
  refused: [culprit: Culprit]
  /** a connection ended */
  peerLost: []
  /** all pieces are here; the whole has yet to be proven */
  complete: []
  failed: [error: unknown]
}

interface BlobDownloadOptions {
  readonly torrent: Torrent
  readonly record: TorrentRecord
  readonly partial: PieceStore
  /** pieces behind the first missing one that are fetched before all others */
  readonly window?: number
  readonly random?: () => number
  /** where pieces are put together; shared by all downloads of a node */
  readonly buffers?: BufferPool
  /** what all downloads of this node may take together */
  readonly limit?: TokenBucket | undefined
}

const DEFAULT_WINDOW = 64
const WATCH_INTERVAL_MS = 200
// A peer that says nothing for so long loses its turn; one that goes on so is cut off.
const STALL_MS = 1000
const SILENT_MS = 10_000
// Memory for pieces in progress and pieces on their way to the disk.
const MAX_BUFFERED_BYTES = 48 * 1024 * 1024

/**
 * Fetches the pieces of one blob over the wires of its torrent: what to ask whom (piece-picker.ts), what to do
 * with peers that fall silent or lie, and when a piece counts. Owns all state of a download; wires report here.
 */
export class BlobDownload extends EventEmitter<DownloadEvents> {
  readonly #options: Required<BlobDownloadOptions>
  readonly #links = new PeerLinks()
  readonly #availability: PieceAvailability
  /** 1: in progress, being written, or here */
  readonly #taken: Uint8Array
  /** 1: counted as here */
  readonly #isHere: Uint8Array
  readonly #pieces = new Map<number, PieceDownload<PeerLink>>()
  readonly #bad = new BadPieces<PeerLink>()
  #cursor = 0
  #missing: number
  #writingBytes = 0
  #isScheduled = false
  #isClosed = false
  #watch: NodeJS.Timeout

  constructor(options: BlobDownloadOptions) {
    super()
    this.#options = {
      window: DEFAULT_WINDOW,
      random: Math.random,
      limit: undefined,
      buffers: new BufferPool({ maxBytes: 0 }),
      ...options,
    }
    const { partial } = options
    this.#availability = new PieceAvailability(partial.pieceCount)
    this.#taken = new Uint8Array(partial.pieceCount)
    this.#isHere = new Uint8Array(partial.pieceCount)
    this.#missing = partial.pieceCount
    for (let index = 0; index < partial.pieceCount; index += 1) {
      if (!partial.hasPiece(index)) continue
      this.#taken[index] = 1
      this.#isHere[index] = 1
      this.#missing -= 1
    }
    this.#watch = setInterval(() => this.#onTick(), WATCH_INTERVAL_MS)
    this.#watch.unref()
  }

  get isComplete(): boolean {
    return this.#missing === 0
  }

  /** Peers that could deliver now. */
  get usablePeers(): number {
    return this.#links.usable
  }

  /** Asks this peer for what it has, until it closes. */
  addWire(wire: Wire, nodeId?: string): void {
    const link = new PeerLink({ wire, nodeId })
    this.#links.add(link)
    wire.on('have', (index: number) => this.#availability.onHave(wire, index))
    wire.on('bitfield', () => this.#onBitfield(wire))
    wire.on('have-all', () => this.#onBitfield(wire))
    wire.on('download', () => this.#onHeard(link))
    wire.once('close', () => this.#onClose(link))
    // Not before the handshake and the bitfield, which follow in this turn of the loop.
    setImmediate(() => {
      if (!this.isComplete && !wire.destroyed) wire.interested()
    })
  }

  /** Something changed: look for requests to make, once in this turn of the loop. */
  schedule(): void {
    if (this.#isScheduled || this.#isClosed) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#pump()
    })
  }

  /** A piece came from elsewhere and is in the partial blob: nobody is asked for it any more. */
  onForeignPiece(index: number): void {
    const piece = this.#pieces.get(index)
    if (piece) {
      this.#release(piece)
      this.#options.buffers.give(piece.takeBytes())
    }
    if (this.#isClosed || this.#isHere[index] === 1) return
    this.#taken[index] = 1
    this.#onHere(index)
    if (this.isComplete) this.#onComplete()
    else this.schedule()
  }

  close(): void {
    this.#isClosed = true
    clearInterval(this.#watch)
    this.removeAllListeners()
  }

  #onBitfield(wire: Wire): void {
    this.#availability.onBitfield(wire)
    this.schedule()
  }

  #pump(): void {
    if (this.#isClosed || this.isComplete) return
    while (this.#cursor < this.#taken.length && this.#options.partial.hasPiece(this.#cursor))
      this.#cursor += 1
    for (const link of this.#links.fromAnywhere(this.#options.random)) this.#fill(link)
  }

  #fill(link: PeerLink): void {
    const { wire } = link
    if (!link.isUsable) return
    const { depth } = link
    if (wire.requests.length > depth / 2) return
    if (wire.requests.length === 0) link.heardAtMs = Date.now()
    while (wire.requests.length < depth && this.#mayAsk() && this.#askNext(link));
  }

  /** Under a download limit, asks again when there is room. */
  #mayAsk(): boolean {
    const waitMs = this.#options.limit?.take(BLOCK_BYTES) ?? 0
    if (waitMs > 0) setTimeout(() => this.schedule(), waitMs).unref()
    return waitMs === 0
  }

  /** Asks for one more block: of the pieces of this peer, of a new one, or of one that others began. */
  #askNext(link: PeerLink): boolean {
    for (const piece of link.owned) {
      const block = piece.nextFree()
      if (block >= 0) return this.#ask(link, piece, block)
    }
    const fresh = this.#beginPiece(link)
    if (fresh) return this.#ask(link, fresh, fresh.nextFree())
    return this.#join(link)
  }

  #beginPiece(link: PeerLink): PieceDownload<PeerLink> | undefined {
    if (this.#bufferedBytes() >= MAX_BUFFERED_BYTES) return undefined
    const index = pickPiece({
      pieceCount: this.#taken.length,
      cursor: this.#cursor,
      window: this.#options.window,
      isWanted: (at) => this.#taken[at] === 0,
      isOffered: (at) => link.wire.peerPieces.get(at),
      availability: (at) => this.#availability.of(at),
      random: this.#options.random,
    })
    if (index < 0) return undefined
    const piece = new PieceDownload<PeerLink>({
      index,
      bytes: this.#options.buffers.take(this.#lengthOf(index)),
      isSoleSource: this.#bad.hasFailed(index),
    })
    this.#taken[index] = 1
    this.#pieces.set(index, piece)
    piece.owner = link
    link.owned.add(piece)
    return piece
  }

  /** Blocks that another peer has not been asked for, or fell silent over. */
  #join(link: PeerLink): boolean {
    for (const piece of this.#pieces.values()) {
      if (!link.wire.peerPieces.get(piece.index) || !this.#mayJoin(piece, link)) continue
      const block = piece.nextFree()
      if (block >= 0) return this.#ask(link, piece, block)
    }
    return false
  }

  #mayJoin(piece: PieceDownload<PeerLink>, link: PeerLink): boolean {
    if (piece.owner === undefined || piece.owner === link) return true
    if (piece.isSoleSource) return false
    return piece.owner.isStalled || this.#pieces.size <= this.#links.size
  }

  #ask(link: PeerLink, piece: PieceDownload<PeerLink>, block: number): boolean {
    const { wire } = link
    piece.onAsked(block, link)
    wire.request(piece.index, block * BLOCK_BYTES, piece.lengthOf(block), (error, bytes) => {
      if (error) this.#onRefused(link, piece, block)
      else this.#onBlock(link, piece, block, bytes)
    })
    return true
  }

  #onRefused(link: PeerLink, piece: PieceDownload<PeerLink>, block: number): void {
    piece.onRefused(block, link)
    if (link.onRefused()) {
      this.emit('refused', link)
      link.wire.destroy()
    }
    this.schedule()
  }

  #onBlock(link: PeerLink, piece: PieceDownload<PeerLink>, block: number, bytes: Uint8Array): void {
    if (this.#isClosed) return
    link.onBlock()
    const others = piece.onBlock(block, bytes, link)
    for (const other of others ?? []) this.#cancel(other, piece, block)
    if (piece.isComplete && this.#pieces.get(piece.index) === piece) this.#onPiece(piece)
    if (link.wire.requests.length <= link.depth / 2) this.schedule()
  }

  #cancel(link: PeerLink, piece: PieceDownload<PeerLink>, block: number): void {
    if (!link.wire.destroyed)
      link.wire.cancel(piece.index, block * BLOCK_BYTES, piece.lengthOf(block))
  }

  #onPiece(piece: PieceDownload<PeerLink>): void {
    const { index } = piece
    this.#release(piece)
    const bytes = piece.takeBytes()
    const found = createHash('sha1').update(bytes).digest()
    if (found.equals(pieceHashOf(this.#options.record, index))) {
      for (const culprit of this.#bad.onGood(index, bytes)) this.emit('badPiece', culprit, index)
      void this.#keep(index, bytes)
      return
    }
    const culprit = this.#bad.onBad(index, bytes, piece.senders)
    this.#options.buffers.give(bytes)
    this.#taken[index] = 0
    if (culprit) this.emit('badPiece', culprit, index)
    this.schedule()
  }

  async #keep(index: number, bytes: Buffer): Promise<void> {
    this.#writingBytes += bytes.length
    try {
      await this.#options.partial.writePiece(index, bytes)
    } catch (error) {
      if (!this.#isClosed) this.emit('failed', error)
      return
    } finally {
      this.#writingBytes -= bytes.length
      this.#options.buffers.give(bytes)
    }
    // Upstream may have been quicker.
    if (this.#isClosed || this.#isHere[index] === 1) return
    this.#onHere(index)
    this.emit('piece', index, bytes.length)
    if (this.isComplete) this.#onComplete()
    else this.schedule()
  }

  #onHere(index: number): void {
    this.#isHere[index] = 1
    this.#missing -= 1
    this.#offer(index)
  }

  #offer(index: number): void {
    const { torrent } = this.#options
    if (torrent.destroyed) return
    torrent._markVerified(index)
    for (const wire of torrent.wires) wire.have(index)
  }

  #onComplete(): void {
    clearInterval(this.#watch)
    this.#links.onComplete(this.#taken.length)
    this.emit('complete')
  }

  #release(piece: PieceDownload<PeerLink>): void {
    this.#pieces.delete(piece.index)
    piece.owner?.owned.delete(piece)
    piece.owner = undefined
  }

  #onHeard(link: PeerLink): void {
    link.heardAtMs = Date.now()
    if (!link.isStalled) return
    link.isStalled = false
    this.schedule()
  }

  #onClose(link: PeerLink): void {
    this.#links.remove(link)
    this.#availability.onGone(link.wire)
    for (const piece of link.owned) {
      piece.owner = undefined
      piece.onStalled()
      // Nothing of it came, or only one peer may fill it: somebody else begins it anew.
      if (piece.isEmpty || piece.isSoleSource) {
        this.#pieces.delete(piece.index)
        this.#taken[piece.index] = 0
        this.#options.buffers.give(piece.takeBytes())
      }
    }
    this.emit('peerLost')
    this.schedule()
  }

  #onTick(): void {
    if (this.#isClosed || this.isComplete) return
    const nowMs = Date.now()
    for (const link of this.#links.all()) this.#watchLink(link, nowMs)
    this.#duplicateLast()
    this.schedule()
  }

  #watchLink(link: PeerLink, nowMs: number): void {
    const silentMs = link.silentMs(nowMs)
    if (silentMs > SILENT_MS && this.#links.size > 1) link.wire.destroy()
    if (silentMs <= STALL_MS || link.isStalled) return
    link.isStalled = true
    for (const piece of this.#pieces.values()) piece.onStalled()
  }

  /** At the end, idle peers are asked for what slow ones still owe; the first answer counts. */
  #duplicateLast(): void {
    if (this.#missing > this.#links.size) return
    for (const link of this.#links.all()) {
      if (link.wire.requests.length === 0 && link.isUsable) this.#duplicate(link)
    }
  }

  #duplicate(link: PeerLink): void {
    for (const piece of this.#pieces.values()) {
      if (piece.isSoleSource || !link.wire.peerPieces.get(piece.index)) continue
      for (let asked = 0; asked < 16; asked += 1) {
        const block = piece.nextDuplicate(link)
        if (block < 0) break
        this.#ask(link, piece, block)
      }
      return
    }
  }

  #bufferedBytes(): number {
    let bytes = this.#writingBytes
    for (const piece of this.#pieces.values()) bytes += piece.length
    return bytes
  }

  #lengthOf(index: number): number {
    const { pieceLength, size } = this.#options.record
    return Math.min(pieceLength, size - index * pieceLength)
  }
}
