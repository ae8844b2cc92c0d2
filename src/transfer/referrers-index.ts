import { Readable } from 'node:stream'

import type { Catalog } from '../catalog/catalog.ts'
import { digestOf, isDigest, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { canonicalName } from '../oci/reference.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { PUSHED, type ImageRegister } from './image-register.ts'
import type { PushedView } from './pushed-view.ts'
import { repositoryKey, type RepositoryName } from './repository-key.ts'

interface ReferrersIndexOptions {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly register: ImageRegister
  readonly view: PushedView
  /** of this node, hex */
  readonly nodeId: string
}

const ANNOTATION = 'ddocker.referrers-of'
const REFERRERS_TAG = /^sha256-[0-9a-f]{64}$/

/** The tag that stands in for the list of what refers to a manifest (distribution-spec, Referrers Tag Schema). */
export function referrersTag(subject: string): string {
  return subject.replace(':', '-')
}

/** Whether a tag lists what refers to a manifest, and is no version of anything. */
export function isReferrersTag(tag: string): boolean {
  return REFERRERS_TAG.test(tag)
}

/**
 * Tells the swarm what refers to a manifest: every node that was pushed something signs an image index of it, under
 * the tag that stands in for the list, and whoever asks joins what all nodes say. One call at a time.
 */
export class ReferrersIndex {
  readonly #options: ReferrersIndexOptions

  constructor(options: ReferrersIndexOptions) {
    this.#options = options
  }

  /** Brings what this node says up to date with what was pushed and deleted. */
  async publish(name: RepositoryName, subject: string): Promise<void> {
    const { catalog, register, view } = this.#options
    if (!isDigest(subject)) return
    const reference = { ...name, tag: referrersTag(subject) }
    // a client that keeps the list itself knows better
    if (await catalog.pushed.tag(repositoryKey(name), reference.tag)) return
    const before = await this.#said(reference)
    const manifests = await view.referrers(name, subject)
    // Of nothing any more an empty list is told: others go by the newest that they heard.
    if (manifests.length === 0 && !before) return
    // Its own in every repository: what is the same in two would go from both.
    const annotations = { [ANNOTATION]: `${repositoryKey(name)}@${subject}` }
    const bytes = encodeIndex({ manifests, annotations })
    const digest = digestOf(bytes)
    if (digest === before) return
    await this.#keep(bytes, digest)
    const descriptor = { digest, mediaType: MEDIA_TYPES.ociIndex, size: bytes.length }
    await register.addName(reference, descriptor)
    if (before) await this.#drop(before)
  }

  async #said(reference: RepositoryName & { tag: string }): Promise<Digest | undefined> {
    const records = await this.#options.catalog.references(canonicalName(reference))
    return records.find(({ nodeId }) => nodeId === this.#options.nodeId)?.digest
  }

  async #keep(bytes: Buffer, digest: Digest): Promise<void> {
    const { store, catalog } = this.#options
    await store.ingest(Readable.from([bytes]), { digest, size: bytes.length })
    await catalog.pin(digest, PUSHED)
  }

  /** The list of before; an image that is the same was pushed by somebody. */
  async #drop(digest: Digest): Promise<void> {
    const { store, catalog } = this.#options
    if (await catalog.image(digest)) return
    await catalog.unpin(digest, PUSHED)
    await store.remove(digest)
  }
}

function encodeIndex(content: object): Buffer {
  const { ociIndex: mediaType } = MEDIA_TYPES
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...content }))
}
