import { messageOf, OperationError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { parseManifest, selectPlatform, type ImageManifest } from '../oci/manifest.ts'
import { hostPlatform } from '../oci/platform.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import type { BlobFetcher } from './blob-fetcher.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import type { ImageResolver, ResolvedManifest } from './image-resolver.ts'
import { addBytes, NO_BYTES, type SourceBytes } from './transfer-record.ts'
import type { UpstreamRoute } from './upstream-route.ts'

/** How one blob of a pull fares. */
export interface BlobReport {
  readonly type: 'blob'
  readonly reference: string
  readonly digest: Digest
  readonly role: 'config' | 'layer'
  readonly size: number
  readonly done: number
  readonly bytes: SourceBytes
  readonly state: 'waiting' | 'moving' | 'done' | 'kept' | 'failed'
}

/** An image whose every blob is here. */
export interface PulledImage {
  /** what the reference means: a manifest or an image index */
  readonly root: Descriptor
  readonly manifest: ImageManifest
  /** of config and layers, bytes */
  readonly size: number
  readonly bytes: SourceBytes
}

const REPORT_INTERVAL_MS = 200
// An engine fetches three at a time; more in flight keep a swarm busier when layers are small.
const BLOBS_AT_ONCE = 6

/** Brings every blob of an image here, for the platform of this host. */
export class ImagePuller {
  readonly #resolver: ImageResolver
  readonly #fetcher: BlobFetcher
  readonly #store: BlobStore

  constructor(options: { resolver: ImageResolver; fetcher: BlobFetcher; store: BlobStore }) {
    this.#resolver = options.resolver
    this.#fetcher = options.fetcher
    this.#store = options.store
  }

  /** @throws OperationError IMAGE_UNKNOWN, BLOB_UNKNOWN, TRANSFER_STALLED, MANIFEST_INVALID, DISK_FULL … */
  async pull(
    reference: Reference,
    { signal, report }: { signal: AbortSignal; report: (event: BlobReport) => void },
  ): Promise<PulledImage> {
    const root = await this.#resolver.require(reference, { signal })
    const manifest = await this.#platformManifest(root, { reference, signal })
    const blobs = [
      { ...manifest.config, role: 'config' as const },
      ...manifest.layers.map((layer) => ({ ...layer, role: 'layer' as const })),
    ]
    const unique = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()]
    const name = formatReference(reference)
    const sums = await mapConcurrently(unique, BLOBS_AT_ONCE, (blob) =>
      this.#fetchBlob(
        { ...blob, reference: name },
        { signal, report, route: routeOf(reference, unique.indexOf(blob)) },
      ),
    )
    return {
      root: { mediaType: root.mediaType, digest: root.digest, size: root.bytes.length },
      manifest,
      size: unique.reduce((sum, { size }) => sum + size, 0),
      bytes: sums.reduce(addBytes, NO_BYTES),
    }
  }

  async #platformManifest(
    root: ResolvedManifest,
    { reference, signal }: { reference: Reference; signal: AbortSignal },
  ): Promise<ImageManifest> {
    const manifest = parseManifest(root.bytes)
    if (manifest.kind === 'image') return manifest
    const entry = selectPlatform(manifest)
    if (!entry) {
      const { os, architecture } = hostPlatform()
      throw new OperationError(
        'IMAGE_UNKNOWN',
        `image "${formatReference(reference)}": wanted one for ${os}/${architecture}, found none in its index`,
      )
    }
    const child = await this.#resolver.manifest(entry.digest, { signal, reference })
    const parsed = child && parseManifest(child.bytes)
    if (parsed?.kind !== 'image') {
      throw new OperationError(
        'IMAGE_UNKNOWN',
        `image "${formatReference(reference)}": no node that can be found holds its manifest ${entry.digest}`,
      )
    }
    return parsed
  }

  async #fetchBlob(
    blob: Pick<BlobReport, 'digest' | 'size' | 'role' | 'reference'>,
    {
      signal,
      route,
      report,
    }: {
      signal: AbortSignal
      route: UpstreamRoute | undefined
      report: (event: BlobReport) => void
    },
  ): Promise<SourceBytes> {
    const { digest, size } = blob
    const tell = (rest: Pick<BlobReport, 'state' | 'bytes' | 'done'>) =>
      report({ type: 'blob', ...blob, ...rest })
    if (await this.#store.has(digest)) {
      const bytes = { ...NO_BYTES, store: size }
      tell({ state: 'kept', bytes, done: size })
      return bytes
    }
    let transfer: BlobTransfer | undefined
    const now = () => transfer?.snapshot().bytes ?? NO_BYTES
    const ticker = setInterval(
      () =>
        tell({
          state: transfer?.state === 'moving' ? 'moving' : 'waiting',
          bytes: now(),
          done: sumOf(now()),
        }),
      REPORT_INTERVAL_MS,
    )
    try {
      await this.#fetcher.fetch(digest, {
        size,
        route,
        signal,
        onTransfer: (started) => (transfer = started),
      })
      const bytes = transfer ? now() : { ...NO_BYTES, store: size }
      tell({ state: 'done', bytes, done: size })
      return bytes
    } catch (error) {
      tell({ state: 'failed', bytes: now(), done: sumOf(now()) })
      throw error instanceof Error ? error : new Error(messageOf(error))
    } finally {
      clearInterval(ticker)
    }
  }
}

function routeOf(reference: Reference, order: number): UpstreamRoute | undefined {
  if (reference.scope !== 'upstream') return undefined
  return { repository: reference, identity: { kind: 'node' }, kind: 'blob', order }
}

function sumOf({ store, peers, upstream }: SourceBytes): number {
  return store + peers + upstream
}
