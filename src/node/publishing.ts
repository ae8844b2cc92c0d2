import { join } from 'node:path'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { messageOf } from '../errors.ts'
import { openNodeIdentity, type NodeIdentity } from '../membership/node-identity.ts'
import { rendezvousAtInfoHash } from '../membership/rendezvous-key.ts'
import type { Digest } from '../oci/digest.ts'
import { parseReference } from '../oci/reference.ts'
import type { HeldParts } from '../publication/held-image.ts'
import { partsOf, Publications, type Publication } from '../publication/publications.ts'
import { PublishedFiles } from '../publication/published-files.ts'
import { publishedFolder } from '../sandbox/peer-side-folder.ts'
import type { PublishedStatus } from '../status/node-status.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import { makeFolder } from '../support/make-folder.ts'
import type { BlobTorrents } from '../transfer/blob-torrents.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { keepPublicFree } from './keep-public-free.ts'
import { publicNameOf, PublicViews, type PublicPresence } from './public-presence.ts'

type ViewOptions = ConstructorParameters<typeof PublicViews>[0]

interface PublishingOptions extends Omit<ViewOptions, 'publications' | 'files'> {
  /** of all that is held */
  readonly torrents: BlobTorrents
  /** undefined where registries are not asked */
  readonly upstream: Pick<Upstream, 'has'> | undefined
}

/** What is to be published of an image. */
interface Candidate extends Pick<HeldParts, 'images' | 'blobs'> {
  readonly digest: Digest
  readonly isOwn: boolean
  /** canonical; left out where a digest was named */
  readonly name?: string
  /** `registry/repository` that gives it to everybody, where that was asked */
  readonly source?: string
}

// What turns out to be private, or is gone, is withdrawn by then, and a port that was taken is tried again.
const LOOK_AFTER_MS = 30_000

/**
 * What this node shares with everybody, beside its closed swarm. Strangers are answered from views that know of nothing
 * else; the port, the identity, the DHT and the process are their own, and there only while something is published.
 */
export class Publishing implements AsyncDisposable {
  readonly #options: PublishingOptions
  readonly #publications: Publications
  readonly #files: PublishedFiles
  readonly #views: PublicViews
  readonly #turns = new KeyedLock()
  #identity: NodeIdentity | undefined
  #open: PublicPresence | undefined
  #problem: string | undefined
  #timer: NodeJS.Timeout | undefined
  #looking: AsyncDisposable | undefined
  #isClosed = false

  private constructor(options: PublishingOptions, publications: Publications) {
    this.#options = options
    this.#publications = publications
    this.#files = new PublishedFiles(publishedFolder(options.config.dataDir))
    this.#views = new PublicViews({ ...options, publications, files: this.#files })
  }

  /** Reads what was published; opens no port yet. */
  static async open(options: PublishingOptions): Promise<Publishing> {
    const path = join(options.config.dataDir, 'public', 'images')
    return new Publishing(options, await Publications.open(path, options))
  }

  /** Goes on with what was published before, if anything was. A port that is taken is no reason not to start. */
  async resume(): Promise<void> {
    this.#timer = setInterval(() => this.lookAfter(), LOOK_AFTER_MS).unref()
    await this.#inTurn(() => this.#tryOpen())
    // Where the catalog was lost, all that is published is hashed again.
    void this.#inTurn(() => this.#announce()).catch((error: unknown) => this.#warn(error))
    const { access, upstream, log } = this.#options
    this.#looking = keepPublicFree({ publishing: this, access, upstream, log })
  }

  /** Withdraws what is no longer fit for everybody, soon. */
  lookAfter(): void {
    if (this.#publications.isEmpty) return
    void this.#inTurn(async () => {
      if (this.#open) {
        await this.#dropUnfit()
        return
      }
      await this.#tryOpen()
      await this.#announce()
    }).catch((error: unknown) => this.#warn(error))
  }

  /** The image is about to lose its manifest. */
  onImageRemoved(digest: Digest): void {
    if (!this.#publications.get(digest)) return
    void this.unpublish(digest).catch((error: unknown) => this.#warn(error))
  }

  get isEmpty(): boolean {
    return this.#publications.isEmpty
  }

  /** All images that are public, as they were named. */
  all(): readonly Publication[] {
    return this.#publications.all()
  }

  /** Whether an image, or one below a published index, is public. */
  has(digest: Digest): boolean {
    return this.#publications.holding(digest).length > 0
  }

  /** Who this node is to everybody. Made when it is needed first. */
  async identity(): Promise<{ nodeId: string; nodeName: string }> {
    const { nodeId } = await this.#ownIdentity()
    return { nodeId, nodeName: publicNameOf(nodeId) }
  }

  /** undefined while nothing is published, or the port cannot be opened */
  get port(): number | undefined {
    return this.#open?.side.peerPort
  }

  async status(): Promise<PublishedStatus | null> {
    if (this.#publications.isEmpty) return null
    const side = this.#open?.side
    const stats = await side?.stats()
    const nodeId = this.#identity?.nodeId
    return {
      ...(nodeId !== undefined && { nodeId, nodeName: publicNameOf(nodeId) }),
      images: this.#publications.all().length,
      dhtNodes: stats?.dhtNodes ?? 0,
      ...(side && { port: side.peerPort }),
      ...(stats && stats.memoryBytes > 0 && { memoryBytes: stats.memoryBytes }),
      ...(this.#problem !== undefined && { problem: this.#problem }),
    }
  }

  /**
   * Makes an image public; when this returns, strangers can have it, and it stays so after a restart.
   * @returns the torrents of its configs and layers
   * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE, DISK_FULL …: then nothing changed
   */
  async publish(candidate: Candidate): Promise<TorrentRecord[]> {
    return await this.#inTurn(async () => {
      const torrents = await this.#hash(candidate)
      const { register } = await this.#opened()
      try {
        await this.#publications.put(this.#merged(candidate))
        const { name, digest } = candidate
        const root = candidate.images.find((image) => image.digest === digest)
        if (name !== undefined && root) await register.addName(parseReference(name), root)
        await this.#announce()
      } finally {
        await this.#closeIfEmpty()
      }
      return torrents
    })
  }

  /** Ends it: from now on strangers are told that it is not here, and who is fetching it is cut off. */
  async unpublish(digest: Digest): Promise<void> {
    await this.#inTurn(() => this.#withdraw(digest))
  }

  /** Its registry still gives all of it to everybody. */
  async confirm(digest: Digest): Promise<void> {
    const checkedAtMs = Date.now()
    await this.#publications.update(digest, (before) => ({ ...before, checkedAtMs }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#looking?.[Symbol.asyncDispose]()
    this.#isClosed = true
    await this.#turns.run('all', async () => {
      await this.#open?.[Symbol.asyncDispose]()
      this.#open = undefined
    })
  }

  /** One change at a time. */
  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    return await this.#turns.run('all', async () => {
      if (this.#isClosed) throw new TypeError('publishing was closed')
      return await work()
    })
  }

  async #ownIdentity(): Promise<NodeIdentity> {
    if (this.#identity) return this.#identity
    const folder = join(this.#options.config.dataDir, 'public')
    await makeFolder(join(folder, 'keys'), { mode: 0o700 })
    this.#identity = await openNodeIdentity(folder)
    return this.#identity
  }

  /** Whatever is on the disk or on the port, the node itself goes on. */
  async #tryOpen(): Promise<void> {
    try {
      await this.#dropUnfit()
      await this.#link()
      if (!this.#publications.isEmpty) await this.#opened()
    } catch (error) {
      this.#problem = messageOf(error)
      this.#options.log.error({ error: this.#problem }, 'what is published is not shared')
    }
  }

  async #opened(): Promise<PublicPresence> {
    if (this.#open) return this.#open
    const identity = await this.#ownIdentity()
    await this.#files.open()
    const open = await this.#views.open(identity)
    this.#problem = undefined
    this.#open = open
    const { log } = this.#options
    log.info({ port: open.side.peerPort, node: identity.nodeId }, 'open to everybody')
    return open
  }

  /** The torrents of what is to be public, made where they are not known. */
  async #hash({ blobs }: Pick<Candidate, 'blobs'>): Promise<TorrentRecord[]> {
    const torrents: TorrentRecord[] = []
    for (const { digest } of blobs) {
      const torrent = await this.#options.torrents.torrentOf(digest)
      if (torrent) torrents.push(torrent)
    }
    return torrents
  }

  #merged({ digest, isOwn, images, blobs, source }: Candidate): Publication {
    const before = this.#publications.get(digest)
    const from = source ?? before?.source
    return {
      digest,
      isOwn: isOwn || before?.isOwn === true,
      publishedAtMs: before?.publishedAtMs ?? Date.now(),
      ...(from !== undefined && { source: from }),
      checkedAtMs: Date.now(),
      images,
      blobs: blobs.map((blob) => blob.digest),
      names: before?.names ?? [],
      records: before?.records ?? [],
    }
  }

  /** Tells the DHT of all that is published, and of nothing else; what it knows already stays as it is. */
  async #announce(): Promise<void> {
    if (!this.#open) return
    const { register } = this.#open
    await this.#link()
    for (const { digest, images, blobs, names } of this.#publications.all()) {
      // By infohash only what was asked for by digest is known.
      for (const blob of blobs) await this.#views.torrents.torrentOf(blob)
      const root = images.find((image) => image.digest === digest)
      for (const name of names) if (root) await register.addName(parseReference(name), root)
    }
    await register.announceAll()
  }

  /** The process of the public side can read what is published, and no more. */
  async #link(): Promise<void> {
    const { store } = this.#options
    const blobs = new Set(this.#publications.all().flatMap((each) => each.blobs))
    await this.#files.keep(blobs, (digest) => store.pathOf(digest))
  }

  async #dropUnfit(): Promise<void> {
    for (const publication of this.#publications.all()) {
      if (await this.#isFit(publication)) continue
      const { digest, names } = publication
      const message = 'no longer published: the image is gone, or a login is needed for it'
      this.#options.log.warn({ digest, names }, message)
      await this.#withdraw(digest)
    }
  }

  async #isFit(publication: Publication): Promise<boolean> {
    if (!(await this.#options.store.has(publication.digest))) return false
    for (const part of partsOf(publication)) {
      if (!(await this.#views.content.isOpen(part))) return false
    }
    return true
  }

  async #withdraw(digest: Digest): Promise<void> {
    const publication = this.#publications.get(digest)
    if (!publication) return
    await this.#publications.remove(digest)
    await this.#link()
    if (!this.#open) return
    const { side } = this.#open
    const { keys } = this.#views
    for (const name of publication.names) side.discovery.withdraw(keys.reference(name))
    for (const image of publication.images) {
      if (!this.has(image.digest)) side.discovery.withdraw(keys.image(image.digest))
    }
    for (const blob of publication.blobs) {
      const torrent = this.has(blob) ? undefined : await this.#options.catalog.torrentOf(blob)
      if (!torrent) continue
      side.discovery.withdraw(rendezvousAtInfoHash(torrent.infoHash))
      await side.drop(torrent.infoHash)
    }
    await this.#closeIfEmpty()
  }

  async #closeIfEmpty(): Promise<void> {
    if (!this.#publications.isEmpty || !this.#open) return
    const open = this.#open
    this.#open = undefined
    await open[Symbol.asyncDispose]()
    this.#options.log.info({}, 'nothing is published any more: closed to everybody')
  }

  #warn(error: unknown): void {
    if (!this.#isClosed)
      this.#options.log.warn({ error: messageOf(error) }, 'what is published is not looked after')
  }
}
