import type { Catalog } from '../catalog/catalog.ts'
import { asRecord } from '../oci/descriptor.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { canonicalName } from '../oci/reference.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { readDocument } from './pushed-manifest.ts'
import { repositoryKey, type RepositoryName } from './repository-key.ts'
import { readSmallBlob } from './store-sink.ts'

const READ_CONCURRENCY = 8
const MAX_HEARD = 16

/** A manifest that was pushed to a repository. */
export interface HeldManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
}

/** What a pushed tag means. */
export type TagMeaning =
  { readonly kind: 'held'; readonly digest: Digest } | { readonly kind: 'deleted' | 'unknown' }

/** What the repositories look like that clients pushed to: what is in them, and what was deleted there. */
export class PushedView {
  readonly #catalog: Catalog
  readonly #store: BlobStore

  constructor({ catalog, store }: { catalog: Catalog; store: BlobStore }) {
    this.#catalog = catalog
    this.#store = store
  }

  /** Whether anything was ever pushed there: then this node speaks for the repository. */
  async isPushedTo(name: RepositoryName): Promise<boolean> {
    return this.#catalog.pushed.isRepository(repositoryKey(name))
  }

  async isDeleted(name: RepositoryName, digest: Digest): Promise<boolean> {
    return (await this.#catalog.pushed.deletedAtMs(repositoryKey(name), digest)) !== undefined
  }

  /** What was pushed here under a tag last, or that it was deleted. */
  async pushedTag(name: RepositoryName, tag: string): Promise<TagMeaning> {
    const { pushed } = this.#catalog
    const repository = repositoryKey(name)
    const digest = await pushed.tag(repository, tag)
    if (digest) return { kind: 'held', digest }
    const isDeleted = (await pushed.deletedAtMs(repository, tag)) !== undefined
    return { kind: isDeleted ? 'deleted' : 'unknown' }
  }

  /**
   * What a tag means by the newest record that is known here, whoever signed it. What is older than the deletion of
   * the tag does not count.
   */
  async newestTag(name: RepositoryName, tag: string): Promise<TagMeaning> {
    const records = (await this.#catalog.references(canonicalName({ ...name, tag }))).filter(
      ({ nodeName }) => name.scope !== 'node' || nodeName === name.nodeName,
    )
    const [newest] = records.sort(
      (a, b) => b.sequence - a.sequence || (a.nodeId > b.nodeId ? -1 : 1),
    )
    const deletedAtMs = await this.#catalog.pushed.deletedAtMs(repositoryKey(name), tag)
    if (deletedAtMs !== undefined && (newest?.sequence ?? 0) <= deletedAtMs) {
      return { kind: 'deleted' }
    }
    return newest ? { kind: 'held', digest: newest.digest } : { kind: 'unknown' }
  }

  /** What the nodes of the swarm say under a tag, as far as it is known here; the newest first, this node left out. */
  async heardTag(name: RepositoryName, tag: string, ownNodeId: string): Promise<Digest[]> {
    const records = await this.#catalog.references(canonicalName({ ...name, tag }))
    const others = records.filter(
      ({ nodeId, nodeName }) =>
        nodeId !== ownNodeId && (name.scope !== 'node' || nodeName === name.nodeName),
    )
    const newest = others.sort((a, b) => b.sequence - a.sequence).slice(0, MAX_HEARD)
    return [...new Set(newest.map(({ digest }) => digest))]
  }

  /** The tags that were pushed to a repository. */
  async pushedTags(name: RepositoryName): Promise<string[]> {
    const tags = await Array.fromAsync(this.#catalog.pushed.tags(repositoryKey(name)))
    return tags.map(({ tag }) => tag)
  }

  /** A manifest that was pushed there, and is here. */
  async manifest(name: RepositoryName, digest: Digest): Promise<HeldManifest | undefined> {
    if (!(await this.#catalog.pushed.isHeld(repositoryKey(name), digest))) return undefined
    return this.#read(digest)
  }

  /** Whether a blob was pushed there, or is below a manifest that was, and is here. */
  async hasBlob(name: RepositoryName, digest: Digest): Promise<boolean> {
    const { pushed } = this.#catalog
    const repository = repositoryKey(name)
    if (!(await this.#store.has(digest))) return false
    if (await pushed.isHeld(repository, digest)) return true
    for (const image of await this.#catalog.imagesWithBlob(digest)) {
      if (await pushed.isHeld(repository, image)) return true
    }
    return false
  }

  /**
   * What refers to a manifest (distribution-spec, Listing Referrers): of what was pushed to the repository, or,
   * where nothing ever was, of all that this node knows.
   * @param subject a digest of any algorithm
   */
  async referrers(name: RepositoryName, subject: string): Promise<Record<string, unknown>[]> {
    const repository = repositoryKey(name)
    const { pushed, referrers } = this.#catalog
    const isOwn = await pushed.isRepository(repository)
    const entries = await mapConcurrently(
      await referrers.of(subject),
      READ_CONCURRENCY,
      async (digest) => {
        if (isOwn && !(await pushed.isHeld(repository, digest))) return undefined
        const manifest = await this.#read(digest)
        return manifest && describeReferrer(manifest)
      },
    )
    return entries.filter((entry) => entry !== undefined)
  }

  async #read(digest: Digest): Promise<HeldManifest | undefined> {
    const image = await this.#catalog.image(digest)
    if (!image || !(await this.#store.has(digest))) return undefined
    const bytes = await readSmallBlob(this.#store, digest)
    return { digest, mediaType: image.mediaType, bytes }
  }
}

/** An entry of a list of referrers; an artifact without a type has that of its config. */
export function describeReferrer({
  mediaType,
  bytes,
}: Omit<HeldManifest, 'digest'>): Record<string, unknown> {
  const document = readDocument(bytes) ?? {}
  const { annotations } = document
  const stated = document['artifactType'] ?? ''
  const artifactType = stated === '' ? asRecord(document['config'])?.['mediaType'] : stated
  return {
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
    ...(typeof artifactType === 'string' && { artifactType }),
    ...(asRecord(annotations) && { annotations }),
  }
}
