import { OperationError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'

/** More layers than this are refused: overlayfs stacks at most 500, so no engine can run such an image. */
export const MAX_LAYERS = 1000

export type BlobRole = 'manifest' | 'config' | 'layer'

/** A blob of an image that is now in the sink. */
export interface ArchivedBlob {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  readonly mediaType: string
  readonly role: BlobRole
}

/** An image of an archive. All its `blobs` are in the sink; those of platforms that were left out are not listed. */
export interface ArchivedImage {
  /** the root: a manifest, or an image index kept byte for byte */
  readonly manifest: Descriptor
  /** as the archive writes them: `app:1`, `docker.io/library/app:1` */
  readonly names: string[]
  /** the root first; each digest once */
  readonly blobs: readonly ArchivedBlob[]
}

/** One image per root: names are joined, blobs are listed once. */
export function joinImages(images: readonly ArchivedImage[]): ArchivedImage[] {
  const joined = new Map<Digest, ArchivedImage>()
  for (const image of images) {
    const { digest } = image.manifest
    const before = joined.get(digest)
    const names = [...new Set([...(before?.names ?? []), ...image.names])]
    joined.set(digest, { ...image, names, blobs: before?.blobs ?? uniqueBlobs(image.blobs) })
  }
  return [...joined.values()]
}

/** @throws OperationError ARCHIVE_INVALID */
export function checkLayerCount(what: string, count: number): void {
  if (count <= MAX_LAYERS) return
  throw archiveInvalid(what, { wanted: `at most ${MAX_LAYERS} layers`, found: count })
}

/** ARCHIVE_INVALID with what was wanted and what was found. */
export function archiveInvalid(
  what: string,
  { wanted, found, cause }: { wanted: string; found: unknown; cause?: unknown },
): OperationError {
  return new OperationError(
    'ARCHIVE_INVALID',
    `${what}: wanted ${wanted}, found ${String(found)}`,
    {
      details: { wanted, found },
      cause,
    },
  )
}

/** ARCHIVE_INCOMPLETE: something that the archive names is not in it. */
export function archiveIncomplete(what: string, wanted: string): OperationError {
  return new OperationError('ARCHIVE_INCOMPLETE', `${what}: wanted ${wanted}, found none`, {
    details: { wanted },
  })
}

function uniqueBlobs(blobs: readonly ArchivedBlob[]): ArchivedBlob[] {
  return [...new Map(blobs.map((blob) => [blob.digest, blob])).values()]
}
