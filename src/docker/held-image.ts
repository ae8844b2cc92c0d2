import { isOperationError, OperationError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { parseManifest, selectPlatform, type ImageManifest } from '../oci/manifest.ts'
import type { ArchiveFiles } from './archive-files.ts'
import type { ArchivedBlob } from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'
import { readLayoutImage } from './layout-index.ts'

/** What a sink has of an image. */
export interface HeldImage {
  /** the root and all below it that is whole */
  readonly blobs: readonly ArchivedBlob[]
  /** the manifest for the platform of this host, else the first that is here */
  readonly runnable: ImageManifest
}

const NO_FILES: ArchiveFiles = {
  read: async () => undefined,
  store: async () => undefined,
}

/**
 * Lists the blobs of an image that are in a sink.
 * @throws OperationError BLOB_UNKNOWN: no platform of it is whole; ARCHIVE_INVALID, MANIFEST_INVALID
 */
export async function listHeldImage(root: Descriptor, sink: BlobSink): Promise<HeldImage> {
  const { blobs } = await readLayoutImage(root, { files: NO_FILES, sink }).catch(
    (error: unknown) => {
      throw isOperationError(error, 'ARCHIVE_INCOMPLETE')
        ? new OperationError('BLOB_UNKNOWN', error.message, { details: error.details })
        : error
    },
  )
  const held = new Set(blobs.map(({ digest }) => digest))
  return { blobs, runnable: await findRunnable(root.digest, held, sink) }
}

async function findRunnable(
  digest: Digest,
  held: ReadonlySet<Digest>,
  sink: BlobSink,
): Promise<ImageManifest> {
  const manifest = parseManifest(await sink.read(digest))
  if (manifest.kind === 'image') return manifest
  const preferred = selectPlatform(manifest)
  const candidates = preferred ? [preferred, ...manifest.manifests] : manifest.manifests
  const found = candidates.find(
    (child) => held.has(child.digest) && child.platform?.os !== 'unknown',
  )
  if (found) return await findRunnable(found.digest, held, sink)
  throw new OperationError('BLOB_UNKNOWN', `image index ${digest}: none of its images is held`)
}
