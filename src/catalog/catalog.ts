import { messageOf } from '../errors.ts'
import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import type { Digest } from '../oci/digest.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { AliasRecords } from './alias-records.ts'
import { noteOrderlyEnd, openChecked, type CatalogState } from './catalog-check.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { ImageRecords, type ImageBlob, type ImageRecord } from './image-records.ts'
import { PinRecords, type Pin } from './pin-records.ts'
import { PushedRecords } from './pushed-records.ts'
import { ReferenceFiles } from './reference-files.ts'
import { ReferenceRecords } from './reference-records.ts'
import { ReferrerRecords } from './referrer-records.ts'
import { TorrentRecords, type TorrentRecord } from './torrent-records.ts'
import { TransferRecords, type TransferRecord } from './transfer-records.ts'

/**
 * What this node knows about its blobs: torrents, images, names, pins, transfers, pushes. A cache in LevelDB: whatever
 * happens to its files, it opens, and images come back from the blobs. Names and how far their signers have come
 * are kept as files as well. Only one process has it open; that also guards the store beside it.
 */
export class Catalog implements AsyncDisposable {
  /** made anew, with what could be saved of a damaged one: images are to be rebuilt from the blobs */
  readonly isFresh: boolean
  /** the node before was cut off: a rebuild in the background would find what may be missing */
  readonly wasCutOff: boolean
  /** what clients pushed to this node, and deleted here */
  readonly pushed: PushedRecords
  readonly referrers: ReferrerRecords
  readonly aliases: AliasRecords
  readonly #database: CatalogDatabase
  readonly #session: string
  readonly #log: Log
  readonly #torrents: TorrentRecords
  readonly #images: ImageRecords
  readonly #references: ReferenceRecords
  readonly #pins: PinRecords
  readonly #transfers: TransferRecords
  #closing: Promise<void> | undefined

  private constructor(
    database: CatalogDatabase,
    { files, state, log }: { files: ReferenceFiles; state: CatalogState; log: Log },
  ) {
    this.#database = database
    this.#log = log
    this.isFresh = state.isFresh
    this.wasCutOff = state.wasCutOff
    this.#session = state.session
    this.#torrents = new TorrentRecords(database)
    this.#images = new ImageRecords(database)
    this.#references = new ReferenceRecords(database, files)
    this.#pins = new PinRecords(database)
    this.#transfers = new TransferRecords(database)
    this.pushed = new PushedRecords(database)
    this.referrers = new ReferrerRecords(database)
    this.aliases = new AliasRecords(database)
  }

  /**
   * Opens the catalog in the folder `path`, with the files of names in the folder `recordsPath`. Damaged files are
   * moved aside to `<path>.damaged-<time>`, of which one is kept. `<path>.session` tells one session from another.
   * @throws OperationError DATA_DIR_IN_USE after two seconds, DATA_DIR_UNUSABLE, DISK_FULL, DISK_READ_ONLY,
   * CATALOG_UNUSABLE
   */
  static async open({
    path,
    recordsPath,
    log = silentLog,
  }: {
    path: string
    recordsPath: string
    log?: Log
  }): Promise<Catalog> {
    const { database, state } = await openChecked(path, log)
    try {
      const files = await ReferenceFiles.open(recordsPath, log)
      const catalog = new Catalog(database, { files, state, log })
      await catalog.#references.reconcile()
      return catalog
    } catch (error) {
      await database.close()
      throw error
    }
  }

  /** Keeps what is needed to share a blob; replaces what was kept for its digest. */
  async putTorrent(record: TorrentRecord): Promise<void> {
    await this.#torrents.put(record)
  }

  async removeTorrent(digest: Digest): Promise<void> {
    await this.#torrents.remove(digest)
  }

  async torrentOf(digest: Digest): Promise<TorrentRecord | undefined> {
    return await this.#torrents.get(digest)
  }

  /** @param infoHash 40 hex digits */
  async torrentByInfoHash(infoHash: string): Promise<TorrentRecord | undefined> {
    return await this.#torrents.byInfoHash(infoHash)
  }

  /** Keeps an image; replaces what was kept for its digest. Survives a power cut, unless `sync` is false. */
  async putImage(record: ImageRecord, { sync = true } = {}): Promise<void> {
    await this.#images.put(record, { sync })
  }

  /** Returns when all that was written survives a power cut. */
  async sync(): Promise<void> {
    await this.#database.sync()
  }

  async image(digest: Digest): Promise<ImageRecord | undefined> {
    return await this.#images.get(digest)
  }

  images(): AsyncIterable<ImageRecord> {
    return this.#images.all()
  }

  async removeImage(digest: Digest): Promise<void> {
    await this.#images.remove(digest)
  }

  /** The images that have the blob below them. */
  async imagesWithBlob(digest: Digest): Promise<Digest[]> {
    return await this.#images.holding(digest)
  }

  /** What any image says about a blob below it, or about itself. */
  async descriptorOf(digest: Digest): Promise<ImageBlob | undefined> {
    return await this.#images.descriptorOf(digest)
  }

  /**
   * Keeps what a signer says a name means. Survives a power cut and the loss of LevelDB.
   * @returns false, and nothing changes, unless its sequence is above the highest ever seen of name and node, or it
   * says the same for longer
   */
  async putReference(record: SignedReferenceRecord): Promise<boolean> {
    return await this.#references.put(record)
  }

  /**
   * Keeps what a peer handed over, by the same rule; bounded by name and by signer, and nothing of signers that were
   * forgotten.
   * @param self the id of this node: its own records never make room for others
   */
  async hearReference(record: SignedReferenceRecord, self: string): Promise<boolean> {
    return await this.#references.hear(record, self)
  }

  /** Forgets all that a signer ever said, and hears nothing of it again. Survives as {@link putReference}. */
  async forgetSigner(nodeId: string): Promise<void> {
    await this.#references.forgetSigner(nodeId)
  }

  /** What every signer says about a name. @param name as `canonicalName` makes it */
  async references(name: string): Promise<SignedReferenceRecord[]> {
    return await this.#references.of(name)
  }

  allReferences(): AsyncIterable<SignedReferenceRecord> {
    return this.#references.all()
  }

  /** Forgets what a name means at a signer; the highest sequence stays known. */
  async removeReference(name: string, nodeId: string): Promise<void> {
    await this.#references.remove(name, nodeId)
  }

  async lastSequence(name: string, nodeId: string): Promise<number | undefined> {
    return await this.#references.lastSequence(name, nodeId)
  }

  /** Adds a reason not to collect a blob. Survives a power cut. */
  async pin(digest: Digest, reason: string): Promise<void> {
    await this.#pins.put({ digest, reason })
  }

  async unpin(digest: Digest, reason: string): Promise<void> {
    await this.#pins.remove({ digest, reason })
  }

  pins(): AsyncIterable<Pin> {
    return this.#pins.all()
  }

  /** Keeps a finished transfer; beyond 1000 the oldest is forgotten. */
  async putTransfer(record: TransferRecord): Promise<void> {
    await this.#transfers.put(record)
  }

  /** Newest first. */
  async transfers({ limit = 1000 }: { limit?: number } = {}): Promise<TransferRecord[]> {
    return await this.#transfers.newest(limit)
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    try {
      await noteOrderlyEnd(this.#database, this.#session)
    } catch (error) {
      // the next start takes it as cut off
      this.#log.warn({ error: messageOf(error) }, 'catalog could not note its orderly end')
    }
    await this.#database.close()
  }
}
