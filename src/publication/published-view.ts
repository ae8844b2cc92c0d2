import type { Catalog } from '../catalog/catalog.ts'
import type { ImageRecord } from '../catalog/image-records.ts'
import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { OperationError } from '../errors.ts'
import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import type { Digest } from '../oci/digest.ts'
import type { SharedStore, TorrentCatalog } from '../transfer/blob-torrents.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import type { RegisterCatalog } from '../transfer/image-register.ts'
import type { Publication, Publications } from './publications.ts'
import type { PublishedFiles } from './published-files.ts'

/**
 * Whether strangers may have a manifest or blob: it is part of an image that was published, and did not turn out to be
 * private since, unless whoever published it said that it is theirs.
 */
export class PublishedContent {
  readonly #publications: Publications
  readonly #access: Pick<ContentAccess, 'isPrivate'>

  constructor(options: { publications: Publications; access: Pick<ContentAccess, 'isPrivate'> }) {
    this.#publications = options.publications
    this.#access = options.access
  }

  async isOpen(digest: Digest): Promise<boolean> {
    for (const publication of this.#publications.holding(digest)) {
      if (publication.isOwn || (await this.#isFree(publication, digest))) return true
    }
    return false
  }

  async #isFree({ digest: root }: Publication, digest: Digest): Promise<boolean> {
    return !(await this.#access.isPrivate(root)) && !(await this.#access.isPrivate(digest))
  }
}

/** The store as strangers see it: what is not published is not there, and is not looked for. */
export class PublishedStore implements SharedStore {
  readonly #store: SharedStore
  readonly #content: PublishedContent
  readonly #files: Pick<PublishedFiles, 'pathOf'>

  constructor(options: {
    store: SharedStore
    content: PublishedContent
    files: Pick<PublishedFiles, 'pathOf'>
  }) {
    this.#store = options.store
    this.#content = options.content
    this.#files = options.files
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.#content.isOpen(digest)) && (await this.#store.has(digest))
  }

  async stat(digest: Digest): ReturnType<SharedStore['stat']> {
    return (await this.#content.isOpen(digest)) ? await this.#store.stat(digest) : undefined
  }

  async open(...[digest, range]: Parameters<SharedStore['open']>): ReturnType<SharedStore['open']> {
    await this.#require(digest)
    return await this.#store.open(digest, range)
  }

  async openFile(digest: Digest): ReturnType<SharedStore['openFile']> {
    await this.#require(digest)
    return await this.#store.openFile(digest)
  }

  /** Where the process that talks to everybody may read it. */
  pathOf(digest: Digest): string {
    return this.#files.pathOf(digest)
  }

  async #require(digest: Digest): Promise<void> {
    if (await this.#content.isOpen(digest)) return
    throw new OperationError('BLOB_UNKNOWN', `blob ${digest}: not published`)
  }
}

interface PublishedCatalogOptions {
  /** where torrents of all that is held are kept; nothing else of it is read */
  readonly catalog: Pick<Catalog, 'torrentOf' | 'putTorrent'>
  readonly publications: Publications
  readonly content: PublishedContent
}

/** The catalog as the public side knows it: published images, their torrents, and names that its own identity signed. */
export class PublishedCatalog implements RegisterCatalog, TorrentCatalog {
  readonly #options: PublishedCatalogOptions
  readonly #digests = new Map<string, Digest>()

  constructor(options: PublishedCatalogOptions) {
    this.#options = options
  }

  async torrentOf(digest: Digest): Promise<TorrentRecord | undefined> {
    const { catalog, content } = this.#options
    const torrent = (await content.isOpen(digest)) ? await catalog.torrentOf(digest) : undefined
    if (torrent) this.#digests.set(torrent.infoHash, digest)
    return torrent
  }

  /** By infohash only what was asked for by digest before: others are not told from such as nobody has. */
  async torrentByInfoHash(infoHash: string): Promise<TorrentRecord | undefined> {
    const digest = this.#digests.get(infoHash)
    const torrent = digest && (await this.torrentOf(digest))
    if (!torrent) this.#digests.delete(infoHash)
    return torrent
  }

  async putTorrent(torrent: TorrentRecord): Promise<void> {
    await this.#options.catalog.putTorrent(torrent)
    await this.torrentOf(torrent.digest)
  }

  async *images(): AsyncGenerator<ImageRecord> {
    const { publications, content } = this.#options
    for (const image of publications.all().flatMap(({ images }) => images)) {
      if (await content.isOpen(image.digest)) yield image
    }
  }

  async image(digest: Digest): Promise<ImageRecord | undefined> {
    for await (const image of this.images()) if (image.digest === digest) return image
    return undefined
  }

  async *allReferences(): AsyncGenerator<SignedReferenceRecord> {
    const { publications, content } = this.#options
    for (const { digest, records } of publications.all()) {
      if (await content.isOpen(digest)) yield* records
    }
  }

  /** Strangers ask for many names at once: only those that are published cost more than a look. */
  async references(name: string): Promise<SignedReferenceRecord[]> {
    const { publications, content } = this.#options
    const found: SignedReferenceRecord[] = []
    for (const { digest, names, records } of publications.all()) {
      if (!names.includes(name) || !(await content.isOpen(digest))) continue
      found.push(...records.filter((record) => record.name === name))
    }
    return found
  }

  async lastSequence(name: string, nodeId: string): Promise<number | undefined> {
    const own = (await this.references(name)).filter((record) => record.nodeId === nodeId)
    return own.length === 0 ? undefined : Math.max(...own.map(({ sequence }) => sequence))
  }

  /** A name means one image: another that had it is public without it from now on. */
  async putReference(record: SignedReferenceRecord): Promise<boolean> {
    const isKept = await this.#options.publications.update(record.digest, (before) => ({
      ...before,
      names: [...new Set([...before.names, record.name])],
      records: [...before.records.filter(({ name }) => name !== record.name), record],
    }))
    if (isKept) await this.#dropName(record.name, ({ digest }) => digest !== record.digest)
    return isKept
  }

  async removeReference(name: string): Promise<void> {
    await this.#dropName(name, () => true)
  }

  /** Images come and go with their publication. */
  async putImage(): Promise<void> {
    throw new TypeError('an image is published, not noted')
  }

  async removeImage(): Promise<void> {}

  async *pins(): AsyncGenerator<never> {}

  async #dropName(name: string, isMeant: (publication: Publication) => boolean): Promise<void> {
    const { publications } = this.#options
    for (const publication of publications.all()) {
      if (!publication.names.includes(name) || !isMeant(publication)) continue
      await publications.update(publication.digest, (before) => ({
        ...before,
        names: before.names.filter((each) => each !== name),
        records: before.records.filter((record) => record.name !== name),
      }))
    }
  }
}
