import type { Catalog } from '../catalog/catalog.ts'
import type { ImageBlob, ImageRecord } from '../catalog/image-records.ts'
import type { Rendezvous } from '../discovery/discovery.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import {
  isConfirmationDue,
  nextSequence,
  parseReferenceRecord,
  signReferenceRecord,
  type ReferenceRecord,
  type SignedReferenceRecord,
} from '../membership/reference-record.ts'
import { rendezvousAtInfoHash, type RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { childrenOf, parseManifest, type Manifest } from '../oci/manifest.ts'
import { isManifestType } from '../oci/media-types.ts'
import { canonicalName, parseReference, type Reference } from '../oci/reference.ts'
import type { SharedStore } from './blob-torrents.ts'
import type { ContentAccess } from './content-access.ts'
import { readSmallBlob } from './store-sink.ts'

/** What a register notes images and names in. */
export type RegisterCatalog = Pick<
  Catalog,
  | 'images'
  | 'image'
  | 'putImage'
  | 'removeImage'
  | 'torrentOf'
  | 'allReferences'
  | 'references'
  | 'lastSequence'
  | 'putReference'
  | 'removeReference'
  | 'pins'
>

interface ImageRegisterOptions {
  readonly store: SharedStore
  readonly catalog: RegisterCatalog
  readonly keys: RendezvousKeys
  readonly identity: NodeIdentity
  readonly swarmKeys: SwarmKeys
  readonly nodeName: string
  /** undefined while no node runs: announced at the next start */
  readonly discovery?: Rendezvous
  readonly isPublic: boolean
  readonly access: Pick<ContentAccess, 'isPrivate'>
  /** told of an image that this node no longer has */
  readonly onImageRemoved?: (digest: Digest) => void
}

/** The pin of images that came from an archive and not from the engine. */
export const IMPORTED = 'imported'

/** The pin of images that clients pushed to this node. */
export const PUSHED = 'pushed'

/** Notes which images this node holds and what they are called, and tells the swarm: the only announcer. */
export class ImageRegister {
  readonly #options: ImageRegisterOptions

  constructor(options: ImageRegisterOptions) {
    this.#options = options
  }

  /** what this node signs as */
  get nodeName(): string {
    return this.#options.nodeName
  }

  /** Announces all that is held; called once at the start of a node. */
  async announceAll(): Promise<void> {
    const { catalog, discovery, keys } = this.#options
    if (!discovery) return
    discovery.announce(keys.nodes)
    for await (const image of catalog.images()) await this.#announceImage(image)
    for await (const record of catalog.allReferences())
      discovery.announce(keys.reference(record.name))
  }

  /** Announces all that is held under the keys that count now, and no more under those before. */
  async reannounce(before: RendezvousKeys): Promise<void> {
    const { catalog, discovery } = this.#options
    if (!discovery) return
    discovery.withdraw(before.nodes)
    for await (const { digest } of catalog.images()) discovery.withdraw(before.image(digest))
    for await (const { name } of catalog.allReferences()) discovery.withdraw(before.reference(name))
    await this.announceAll()
  }

  /**
   * Notes a manifest that came through here: its blobs are known by size, its holders meet at its key, and this
   * node is one of them from now on.
   * @param options.sync returns when that survives a power cut
   * @throws OperationError MANIFEST_INVALID
   */
  async addManifest(digest: Digest, bytes: Uint8Array, { sync = true } = {}): Promise<Manifest> {
    const manifest = parseManifest(bytes)
    const known = await this.#options.catalog.image(digest)
    if (!known) await this.addImage(imageOf(manifest, digest, bytes.length), { sync })
    return manifest
  }

  /** Notes an image whose blobs are listed. An image index brings its manifests along. */
  async addImage(image: ImageRecord, { sync = true } = {}): Promise<void> {
    await this.#options.catalog.putImage(image, { sync })
    await this.#announceImage(image)
    for (const blob of image.blobs) {
      if (blob.role !== 'manifest' || !(await this.#options.store.has(blob.digest))) continue
      const bytes = await readSmallBlob(this.#options.store, blob.digest)
      await this.addManifest(blob.digest, bytes, { sync })
    }
  }

  /** Signs that `name` means `manifest` on this node, unless it said so before. */
  async addName(
    name: Reference,
    manifest: Pick<Descriptor, 'digest' | 'mediaType' | 'size'>,
  ): Promise<void> {
    const { catalog, identity, nodeName } = this.#options
    const canonical = canonicalName(name)
    const own = await this.#ownRecord(canonical)
    if (own?.digest !== manifest.digest || own.nodeName !== nodeName) {
      const sequence = nextSequence(await catalog.lastSequence(canonical, identity.nodeId))
      await this.#sign({ ...manifest, name: canonical, sequence, nodeName })
    } else await this.#confirm(own)
    this.announceName(name)
  }

  /**
   * Signs again what this node says and still holds true, before it is taken for old: nothing in it changes but its
   * end. Also what was signed under another swarm key.
   * @throws the reason of `signal`
   */
  async confirmNames({ signal }: { signal: AbortSignal }): Promise<void> {
    const { catalog, identity } = this.#options
    for await (const record of catalog.allReferences()) {
      signal.throwIfAborted()
      if (record.nodeId === identity.nodeId) await this.#confirm(record)
    }
  }

  /**
   * A peer has a record of this node that this node did not make, or no longer knows of: what it says now is signed
   * above that, so that it is not taken for old.
   */
  async contradict(heard: ReferenceRecord): Promise<void> {
    const own = await this.#ownRecord(heard.name)
    if (!own || heard.sequence <= own.sequence) return
    await this.#sign({ ...own, sequence: nextSequence(heard.sequence) })
  }

  /** This node can say what `name` means, by a record of its own or of another. */
  announceName(name: Reference): void {
    this.#options.discovery?.announce(this.#options.keys.reference(canonicalName(name)))
  }

  /** This node no longer says what `name` means. */
  async removeName(name: Reference): Promise<void> {
    const { catalog, identity, keys, discovery } = this.#options
    const canonical = canonicalName(name)
    await catalog.removeReference(canonical, identity.nodeId)
    const left = await catalog.references(canonical)
    if (left.length === 0) discovery?.withdraw(keys.reference(canonical))
  }

  /** This node no longer has an image: forgets it, and says so. Its blobs stay. */
  async removeImage(digest: Digest): Promise<void> {
    const { catalog, discovery, keys } = this.#options
    await catalog.removeImage(digest)
    discovery?.withdraw(keys.image(digest))
    this.#options.onImageRemoved?.(digest)
  }

  /** This node is about to lose a blob: the public swarm is no longer told of its torrent. */
  async withdrawBlob(digest: Digest): Promise<void> {
    const { catalog, discovery, isPublic } = this.#options
    const torrent = isPublic && (await catalog.torrentOf(digest))
    if (torrent) discovery?.withdraw(rendezvousAtInfoHash(torrent.infoHash))
  }

  /**
   * Withdraws the names that this node signed and that are not among `names`: the engine no longer has them.
   * What was imported or pushed keeps its names, the engine need not have it.
   */
  async keepNames(names: readonly Reference[]): Promise<void> {
    const { catalog, identity } = this.#options
    const kept = new Set(names.map(canonicalName))
    const pinned = new Set<Digest>()
    for await (const { digest, reason } of catalog.pins())
      if (reason === IMPORTED || reason === PUSHED) pinned.add(digest)
    for await (const { name, nodeId, digest } of catalog.allReferences()) {
      if (nodeId !== identity.nodeId || kept.has(name) || pinned.has(digest)) continue
      await this.removeName(parseReference(name))
    }
  }

  async #ownRecord(name: string): Promise<SignedReferenceRecord | undefined> {
    const records = await this.#options.catalog.references(name)
    return records.find(({ nodeId }) => nodeId === this.#options.identity.nodeId)
  }

  async #confirm(own: SignedReferenceRecord): Promise<void> {
    if (isConfirmationDue(own) || !this.#isSound(own)) await this.#sign(own)
  }

  #isSound(own: SignedReferenceRecord): boolean {
    try {
      parseReferenceRecord(own, { swarmKeys: [this.#options.swarmKeys.current] })
      return true
    } catch {
      // signed under another swarm key
      return false
    }
  }

  async #sign(record: Omit<ReferenceRecord, 'nodeId' | 'expiresAtMs'>): Promise<void> {
    const { catalog, identity, swarmKeys } = this.#options
    const swarmKey = swarmKeys.current
    await catalog.putReference(signReferenceRecord(record, { identity, swarmKey }))
  }

  async #announceImage(image: ImageRecord): Promise<void> {
    const { discovery, keys, isPublic, catalog, store, access } = this.#options
    if (isPublic && (await access.isPrivate(image.digest))) return
    discovery?.announce(keys.image(image.digest))
    if (!isPublic || !discovery) return
    for (const blob of image.blobs) {
      // What is not here, or not all of it, is announced when it comes.
      if (!(await store.has(blob.digest))) continue
      const torrent = await catalog.torrentOf(blob.digest)
      if (torrent) discovery.announce(rendezvousAtInfoHash(torrent.infoHash))
    }
  }
}

/** The names of an archive or engine as references; what is not one is left out. */
export function referencesOf(names: readonly string[], doors: readonly string[] = []): Reference[] {
  return names.flatMap((name) => {
    try {
      const reference = parseReference(name, { doors })
      return reference.tag === undefined || reference.digest ? [] : [reference]
    } catch {
      return []
    }
  })
}

/** What the catalog keeps of a manifest. @param size of the manifest, bytes */
export function imageOf(manifest: Manifest, digest: Digest, size: number): ImageRecord {
  return {
    digest,
    mediaType: manifest.mediaType,
    size,
    blobs: childrenOf(manifest).map((child) => blobOf(manifest, child)),
    addedAtMs: Date.now(),
  }
}

function blobOf(manifest: Manifest, { digest, size, mediaType }: Descriptor): ImageBlob {
  const isConfig = manifest.kind === 'image' && digest === manifest.config.digest
  const role = isConfig
    ? 'config'
    : manifest.kind === 'index' || isManifestType(mediaType)
      ? 'manifest'
      : 'layer'
  return { digest, size, mediaType, role }
}
