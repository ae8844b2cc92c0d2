import type { ImageRecord } from '../catalog/image-records.ts'
import { OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { parseManifest } from '../oci/manifest.ts'
import type { SharedStore } from '../transfer/blob-torrents.ts'
import { imageOf } from '../transfer/image-register.ts'
import { readSmallBlob } from '../transfer/store-sink.ts'

/** An image, and what of it is here. */
export interface HeldParts {
  /** it, and the manifests below it that are here */
  readonly images: readonly ImageRecord[]
  /** configs and layers that are here, with at least one byte, each once */
  readonly blobs: readonly HeldPart[]
  /** configs and layers of these manifests that are not here */
  readonly absentBlobs: number
  /** of an image index: how many manifests it lists; 0 for an image */
  readonly listedManifests: number
}

/** A config or layer. */
export interface HeldPart {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  readonly role: 'config' | 'layer'
}

// More would be more questions to a registry, and announces, than one image is worth.
const MAX_IMAGES = 256
const MAX_BLOBS = 4096

/**
 * What of an image is here, read from its manifests.
 * @throws OperationError BLOB_UNKNOWN, MANIFEST_INVALID: also for an image of more than 256 manifests or 4096 blobs
 */
export async function heldPartsOf(root: Digest, store: SharedStore): Promise<HeldParts> {
  const images = new Map<Digest, ImageRecord>()
  const queue = [root]
  let listedManifests = 0
  for (let digest = queue.shift(); digest; digest = queue.shift()) {
    if (images.has(digest) || (digest !== root && !(await store.has(digest)))) continue
    if (images.size >= MAX_IMAGES) throw tooLarge(root, `${MAX_IMAGES} manifests`)
    const bytes = await readSmallBlob(store, digest)
    const image = imageOf(parseManifest(bytes), digest, bytes.length)
    images.set(digest, image)
    const below = image.blobs.filter(({ role }) => role === 'manifest')
    if (digest === root) listedManifests = below.length
    queue.push(...below.map((blob) => blob.digest))
  }
  return { images: [...images.values()], listedManifests, ...(await blobsOf(images, store, root)) }
}

async function blobsOf(
  images: ReadonlyMap<Digest, ImageRecord>,
  store: SharedStore,
  root: Digest,
): Promise<Pick<HeldParts, 'blobs' | 'absentBlobs'>> {
  const wanted = new Map<Digest, HeldPart>()
  for (const { blobs } of images.values()) {
    for (const { digest, size, role } of blobs) {
      if (role !== 'manifest' && size > 0) wanted.set(digest, { digest, size, role })
    }
  }
  if (wanted.size > MAX_BLOBS) throw tooLarge(root, `${MAX_BLOBS} blobs`)
  const blobs: HeldPart[] = []
  for (const part of wanted.values()) if (await store.has(part.digest)) blobs.push(part)
  return { blobs, absentBlobs: wanted.size - blobs.length }
}

function tooLarge(root: Digest, wanted: string): OperationError {
  return new OperationError('MANIFEST_INVALID', `image ${root}: wanted at most ${wanted}`)
}
