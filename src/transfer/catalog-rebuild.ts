import type { Catalog } from '../catalog/catalog.ts'
import type { ImageBlob, ImageRecord } from '../catalog/image-records.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import {
  childrenOf,
  MAX_MANIFEST_BYTES,
  parseManifest,
  type ImageIndex,
  type ImageManifest,
  type Manifest,
} from '../oci/manifest.ts'
import type { BlobStore, StoredBlob } from '../store/blob-store.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { readDocument, subjectOf } from './pushed-manifest.ts'

const READ_CONCURRENCY = 16
const OPENING_BRACE = 0x7b

/** What a rebuild looked at and put back. */
export interface CatalogRebuild {
  readonly blobs: number
  readonly images: number
}

interface RebuildOptions {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly log?: Log
  readonly signal?: AbortSignal
}

/** A manifest that the store holds. */
interface FoundManifest {
  readonly manifest: Manifest
  /** the digest of the manifest it refers to, of any algorithm */
  readonly subject: string | undefined
}

/** The manifests that the store holds, and all it holds. */
interface Holdings {
  readonly blobs: ReadonlyMap<Digest, StoredBlob>
  readonly manifests: ReadonlyMap<Digest, FoundManifest>
}

/**
 * Puts the images back into a catalog that has lost them, and what refers to what, from the manifests among the blobs. An image counts with
 * its config here, an image index with at least one such image; their other blobs may be fetched later.
 * Torrents are not put back: they are hashed when they are wanted.
 * @throws the reason of `signal`
 */
export async function rebuildCatalog(options: RebuildOptions): Promise<CatalogRebuild> {
  const { catalog, log = silentLog, signal } = options
  const startedAt = performance.now()
  const holdings = await surveyStore(options)
  let images = 0
  for (const [digest, { manifest, subject }] of holdings.manifests) {
    signal?.throwIfAborted()
    if (subject !== undefined) await catalog.referrers.put(subject, digest, { sync: false })
    const blobs = blobsBelow(manifest, holdings)
    if (!blobs) continue
    const record = await imageRecord({ digest, manifest, blobs }, options, holdings)
    // what a power cut takes is rebuilt again
    await catalog.putImage(record, { sync: false })
    images += 1
  }
  const rebuild = { blobs: holdings.blobs.size, images }
  // of a new data directory there is nothing to tell
  const level = rebuild.blobs > 0 ? 'info' : 'debug'
  log[level]({ ...rebuild, ms: Math.round(performance.now() - startedAt) }, 'catalog rebuilt')
  return rebuild
}

async function surveyStore({ store, signal }: RebuildOptions): Promise<Holdings> {
  const blobs = new Map<Digest, StoredBlob>()
  for await (const blob of store.list()) {
    signal?.throwIfAborted()
    blobs.set(blob.digest, blob)
  }
  const small = [...blobs.values()].filter(({ size }) => size > 0 && size <= MAX_MANIFEST_BYTES)
  const found = await mapConcurrently(small, READ_CONCURRENCY, async (blob) => {
    signal?.throwIfAborted()
    const manifest = await readManifest(store, blob)
    return manifest && ([blob.digest, manifest] as const)
  })
  return { blobs, manifests: new Map(found.filter((entry) => entry !== undefined)) }
}

async function readManifest(
  store: BlobStore,
  { digest, size }: StoredBlob,
): Promise<FoundManifest | undefined> {
  try {
    await using file = await store.openFile(digest)
    const [first] = await file.read(0, 1)
    if (first !== OPENING_BRACE) return undefined
    const bytes = await file.read(0, size)
    return { manifest: parseManifest(bytes), subject: subjectOf(readDocument(bytes)) }
  } catch {
    // a config, a layer that begins like JSON, or a blob that was removed a moment ago
    return undefined
  }
}

/** Everything below a manifest, each blob once, or undefined where too little of it is here. */
function blobsBelow(manifest: Manifest, holdings: Holdings): ImageBlob[] | undefined {
  const blobs =
    manifest.kind === 'image' ? imageBlobs(manifest, holdings) : indexBlobs(manifest, holdings)
  return blobs && [...new Map(blobs.map((blob) => [blob.digest, blob])).values()]
}

function imageBlobs(manifest: ImageManifest, { blobs }: Holdings): ImageBlob[] | undefined {
  if (!blobs.has(manifest.config.digest)) return undefined
  return childrenOf(manifest).map((child) =>
    imageBlob(child, child === manifest.config ? 'config' : 'layer'),
  )
}

function indexBlobs(index: ImageIndex, holdings: Holdings): ImageBlob[] | undefined {
  const below = index.manifests.map(({ digest }) => {
    const child = holdings.manifests.get(digest)?.manifest
    return child?.kind === 'image' ? imageBlobs(child, holdings) : undefined
  })
  // an empty one is whole: it may say all it has to say by its annotations
  if (below.length > 0 && below.every((blobs) => blobs === undefined)) return undefined
  return index.manifests.flatMap((entry, at) => [
    imageBlob(entry, 'manifest'),
    ...(below[at] ?? []),
  ])
}

function imageBlob({ digest, size, mediaType }: Descriptor, role: ImageBlob['role']): ImageBlob {
  return { digest, size, mediaType, role }
}

/** An image that is still in the catalog keeps the time at which it came. */
async function imageRecord(
  { digest, manifest, blobs }: { digest: Digest; manifest: Manifest; blobs: readonly ImageBlob[] },
  { catalog }: RebuildOptions,
  holdings: Holdings,
): Promise<ImageRecord> {
  const known = await catalog.image(digest)
  return {
    digest,
    mediaType: manifest.mediaType,
    size: holdings.blobs.get(digest)?.size ?? 0,
    blobs,
    addedAtMs: known?.addedAtMs ?? Date.now(),
  }
}
