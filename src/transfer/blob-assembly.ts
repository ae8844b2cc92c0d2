import { createHash } from 'node:crypto'

import type { Catalog } from '../catalog/catalog.ts'
import type { TorrentRecord } from '../catalog/torrent-records.ts'
import type { RemoteDownload } from '../sandbox/remote-download.ts'
import type { BlobStore, PartialBlob } from '../store/blob-store.ts'
import { makeTorrent, pieceHashOf } from '../torrent/metainfo.ts'
import { pieceLength } from '../torrent/piece-length.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import type { Holder } from './peer-finder.ts'
import { RecentPieces } from './recent-pieces.ts'

interface BlobAssemblyOptions {
  readonly transfer: BlobTransfer
  readonly store: BlobStore
  readonly catalog: Catalog
  /** from an earlier attempt that was cut off: proves what is here already */
  readonly torrent?: TorrentRecord | undefined
}

/**
 * One blob, put together from pieces that peers send and bytes that upstream sends. Pieces of peers are proven by
 * a torrent; bytes of upstream are compared with the torrent where there is one, and make one where there is none.
 * Either way the whole is proven by its SHA-256 before it counts.
 */
export class BlobAssembly implements AsyncDisposable {
  readonly transfer: BlobTransfer
  /** nodes that said that they have it */
  readonly holders: Holder[] = []
  /** who handed over the torrent, where it came from a peer */
  voucher: Holder | undefined
  readonly #options: BlobAssemblyOptions
  readonly #hashes = new Map<number, Buffer>()
  readonly #complete = Promise.withResolvers<void>()
  #torrent: TorrentRecord | undefined
  #opening: Promise<PartialBlob> | undefined
  #partial: PartialBlob | undefined
  #recent: RecentPieces | undefined
  #download: { download: RemoteDownload; leave: () => Promise<void> } | undefined
  #isCommitted = false

  constructor(options: BlobAssemblyOptions) {
    this.#options = options
    this.transfer = options.transfer
    this.#torrent = options.torrent
  }

  get torrent(): TorrentRecord | undefined {
    return this.#torrent
  }

  get isOpen(): boolean {
    return this.#opening !== undefined
  }

  get isCommitted(): boolean {
    return this.#isCommitted
  }

  /** Where the pieces go; opened by whoever has the first bytes. The size has to be known. */
  async open(): Promise<PartialBlob> {
    this.#opening ??= this.#open()
    return this.#opening
  }

  /** Resolves when every piece is here. */
  get complete(): Promise<void> {
    return this.#complete.promise
  }

  /**
   * Takes a torrent as the proof of pieces from now on.
   * @returns false where it contradicts what upstream sent: one of the two is wrong, the digest will tell
   */
  async adopt(torrent: TorrentRecord): Promise<boolean> {
    if (this.#torrent) return this.#torrent.infoHash === torrent.infoHash
    const partial = this.#partial ?? (this.#opening && (await this.#opening))
    if (partial && !(await this.#agrees(partial, torrent))) return false
    this.#torrent ??= torrent
    await this.#options.catalog.putTorrent(torrent)
    return true
  }

  /**
   * Peers bring pieces too from now on.
   * @param leave called at the end of the assembly
   */
  join(download: RemoteDownload, leave: () => Promise<void>): void {
    const { transfer } = this
    this.#download = { download, leave }
    transfer.isShared = true
    download.on('piece', (_index, bytes) => transfer.onBytes('peers', bytes))
    download.once('complete', () => this.#complete.resolve())
    // What upstream brought while the torrent was made ready.
    const pieces = this.#partial?.pieceCount ?? 0
    for (let index = 0; index < pieces; index += 1) {
      if (this.#partial?.hasPiece(index)) download.onForeignPiece(index)
    }
    if (download.isComplete) this.#complete.resolve()
  }

  /** The lowest piece from `index` on that is not here; -1 where none is missing. */
  nextMissing(index: number): number {
    const partial = this.#partial
    if (!partial) return index
    for (let at = index; at < partial.pieceCount; at += 1) if (!partial.hasPiece(at)) return at
    return -1
  }

  /**
   * Keeps a piece that upstream sent; `bytes` belong to the assembly.
   * @returns false where it contradicts the torrent
   */
  async writeFromUpstream(index: number, bytes: Buffer): Promise<boolean> {
    const partial = await this.open()
    if (partial.hasPiece(index)) return true
    const hash = createHash('sha1').update(bytes).digest()
    if (this.#torrent && !hash.equals(pieceHashOf(this.#torrent, index))) return false
    await partial.writePiece(index, bytes)
    if (this.transfer.readers > 0) this.#recent?.keep(index, bytes)
    this.#hashes.set(index, hash)
    this.transfer.onBytes('upstream', bytes.length)
    this.#download?.download.onForeignPiece(index)
    if (!this.#download && this.nextMissing(0) === -1) this.#complete.resolve()
    return true
  }

  /**
   * With all pieces here: the proof of the whole, then its name among the complete blobs, then its torrent.
   * @throws OperationError BLOB_DIGEST_MISMATCH: nothing stays on disk
   */
  async commit(): Promise<void> {
    const partial = await this.open()
    const startedMs = performance.now()
    await partial.prove()
    this.transfer.onProven()
    if (!this.#torrent) this.#torrent = await this.#makeTorrent(partial)
    await partial.commit()
    this.#isCommitted = true
    await this.#options.catalog.putTorrent(this.#torrent)
    this.transfer.onWait('proof', performance.now() - startedMs)
  }

  /** Closes the partial blob. What is here stays for the next time. */
  async [Symbol.asyncDispose](): Promise<void> {
    const partial = await this.#opening?.catch(() => undefined)
    this.#recent?.clear()
    await this.#download?.leave()
    await partial?.[Symbol.asyncDispose]()
  }

  async #open(): Promise<PartialBlob> {
    const { transfer } = this
    const { store } = this.#options
    const torrent = this.#torrent
    const partial = await store.openPartial({
      digest: transfer.digest,
      size: transfer.size,
      pieceLength: pieceLength(transfer.size),
      ...(torrent && { pieceHash: (index: number) => pieceHashOf(torrent, index) }),
    })
    this.#partial = partial
    this.#recent = new RecentPieces(partial)
    transfer.onMoving(this.#recent)
    if (this.nextMissing(0) === -1) this.#complete.resolve()
    return partial
  }

  async #agrees(partial: PartialBlob, torrent: TorrentRecord): Promise<boolean> {
    for (let index = 0; index < partial.pieceCount; index += 1) {
      if (!partial.hasPiece(index)) continue
      if (!(await this.#hashOf(partial, index)).equals(pieceHashOf(torrent, index))) return false
    }
    return true
  }

  async #makeTorrent(partial: PartialBlob): Promise<TorrentRecord> {
    const hashes: Buffer[] = []
    for (let index = 0; index < partial.pieceCount; index += 1) {
      hashes.push(await this.#hashOf(partial, index))
    }
    const { digest, size } = partial
    return makeTorrent({ digest, size, pieces: Buffer.concat(hashes) })
  }

  /** The SHA-1 of a piece that is here; read back where an earlier run of the node brought it. */
  async #hashOf(partial: PartialBlob, index: number): Promise<Buffer> {
    const known = this.#hashes.get(index)
    if (known) return known
    const offset = index * partial.pieceLength
    const bytes = await partial.read(offset, Math.min(partial.pieceLength, partial.size - offset))
    return createHash('sha1').update(bytes).digest()
  }
}
