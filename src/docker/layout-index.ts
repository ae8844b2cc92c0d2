/**
 * `index.json` of an OCI image layout (image-spec, image-layout.md): roots that are kept byte for byte.
 * An image index may name platforms that were left out when the archive was made; the platforms that are
 * here must be whole.
 */
import type { Descriptor } from '../oci/descriptor.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import {
  MAX_MANIFEST_BYTES,
  parseManifest,
  type ImageIndex,
  type ImageManifest,
  type Manifest,
} from '../oci/manifest.ts'
import type { ArchiveFiles } from './archive-files.ts'
import { blobPath } from './archive-path.ts'
import {
  archiveIncomplete,
  archiveInvalid,
  checkLayerCount,
  type ArchivedBlob,
  type ArchivedImage,
  type BlobRole,
} from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'

const MAX_INDEX_DEPTH = 3
const MAX_MANIFESTS = 1000
const CONTAINERD_NAME = 'io.containerd.image.name'
const REF_NAME = 'org.opencontainers.image.ref.name'
// Such layers stay with their maker (image-spec, layer.md, Non-Distributable Layers).
const NOT_DISTRIBUTED = /\.nondistributable\.|\.foreign\./

interface Place {
  readonly files: ArchiveFiles
  readonly sink: BlobSink
}

/** What is here of a root: its blobs, and the first thing that is not. */
interface Found {
  readonly blobs: readonly ArchivedBlob[]
  readonly missing?: string
}

/**
 * @param content the bytes of index.json
 * @throws OperationError MANIFEST_INVALID
 */
export function parseLayoutIndex(content: Uint8Array): readonly Descriptor[] {
  const index = parseManifest(content)
  if (index.kind === 'index' && index.manifests.length <= MAX_MANIFESTS * 10) return index.manifests
  throw archiveInvalid('index.json', { wanted: 'a list of manifests', found: 'something else' })
}

/**
 * Makes the image of a root of index.json.
 * @throws OperationError ARCHIVE_INVALID, ARCHIVE_INCOMPLETE, MANIFEST_INVALID, BLOB_DIGEST_MISMATCH
 */
export async function readLayoutImage(root: Descriptor, place: Place): Promise<ArchivedImage> {
  const manifest = await readManifest(root, place)
  if (!manifest) throw archiveIncomplete('index.json', `manifest ${root.digest}`)
  const found = await findTree(root, manifest, { place, depth: 0, missingBy: new Map() })
  if (found.missing !== undefined) throw archiveIncomplete(`image ${root.digest}`, found.missing)
  const { mediaType } = manifest
  return { manifest: { ...root, mediaType }, names: namesOf(root), blobs: found.blobs }
}

/** How the image behind a root looks to manifest.json: its config and how many layers it has. */
export async function readRootManifest(
  root: Descriptor,
  place: Place,
): Promise<ImageManifest | undefined> {
  const manifest = await readManifest(root, place)
  return manifest?.kind === 'image' ? manifest : undefined
}

/** Names of an image; a bare tag, as the annotation of the spec often has, is none. */
function namesOf({ annotations }: Descriptor): string[] {
  const name = annotations?.[CONTAINERD_NAME] ?? annotations?.[REF_NAME] ?? ''
  return /[:/]/.test(name) ? [name] : []
}

async function readManifest(
  descriptor: Descriptor,
  { files, sink }: Place,
): Promise<Manifest | undefined> {
  const { digest, size } = descriptor
  if (size > MAX_MANIFEST_BYTES) {
    const wanted = `at most ${MAX_MANIFEST_BYTES} bytes`
    throw archiveInvalid(`manifest ${digest}`, { wanted, found: size })
  }
  const content =
    (await files.read(blobPath(digest), MAX_MANIFEST_BYTES)) ??
    ((await sink.stat(digest)) ? await sink.read(digest) : undefined)
  if (!content) return undefined
  if (content.length !== size || digestOf(content) !== digest) {
    const found = `${content.length} bytes of ${digestOf(content)}`
    throw archiveInvalid(`manifest ${digest}`, { wanted: `${size} bytes of ${digest}`, found })
  }
  return parseManifest(content)
}

interface Walk {
  readonly place: Place
  readonly depth: number
  /** manifests that were met, with what they lack: each is walked once, however often it is named */
  readonly missingBy: Map<Digest, string | undefined>
}

async function findTree(descriptor: Descriptor, manifest: Manifest, walk: Walk): Promise<Found> {
  const children =
    manifest.kind === 'image'
      ? await findImage(manifest, walk.place)
      : await findPlatforms(manifest, walk)
  if (children.missing !== undefined) return children
  const own = await findBlob(descriptor, { role: 'manifest', ...walk.place })
  const mediaType = manifest.mediaType
  return own
    ? { blobs: [{ ...own, mediaType }, ...children.blobs] }
    : notFound(`manifest ${descriptor.digest}`)
}

async function findImage(manifest: ImageManifest, place: Place): Promise<Found> {
  checkLayerCount('manifest', manifest.layers.length)
  const blobs: ArchivedBlob[] = []
  const wanted = [
    { descriptor: manifest.config, role: 'config' as const },
    ...manifest.layers.map((descriptor) => ({ descriptor, role: 'layer' as const })),
  ]
  for (const { descriptor, role } of wanted) {
    const blob = await findBlob(descriptor, { role, ...place })
    if (blob) blobs.push(blob)
    else if (!NOT_DISTRIBUTED.test(descriptor.mediaType)) {
      return notFound(`${role} ${descriptor.digest}`)
    }
  }
  return { blobs }
}

async function findPlatforms(index: ImageIndex, walk: Walk): Promise<Found> {
  const { manifests } = index
  const depth = walk.depth + 1
  if (depth > MAX_INDEX_DEPTH || manifests.length > MAX_MANIFESTS) {
    const wanted = `at most ${MAX_MANIFESTS} manifests, ${MAX_INDEX_DEPTH} image indexes deep`
    throw archiveInvalid('image index', { wanted, found: 'more' })
  }
  const blobs: ArchivedBlob[] = []
  let missing: string | undefined = 'an image for at least one platform'
  for (const child of manifests) {
    const found = await findPlatform(child, { ...walk, depth })
    blobs.push(...found.blobs)
    // Statements about images, as builders add them, are no image.
    if (child.platform?.os === 'unknown') continue
    if (found.missing === undefined) missing = undefined
    else missing &&= found.missing
  }
  return missing === undefined ? { blobs } : notFound(missing)
}

async function findPlatform(child: Descriptor, walk: Walk): Promise<Found> {
  const { digest } = child
  if (walk.missingBy.has(digest)) return notFound(walk.missingBy.get(digest))
  const manifest = await readManifest(child, walk.place)
  const found = manifest ? await findTree(child, manifest, walk) : notFound(`manifest ${digest}`)
  walk.missingBy.set(digest, found.missing)
  return found
}

function notFound(missing: string | undefined): Found {
  return { blobs: [], ...(missing !== undefined && { missing }) }
}

async function findBlob(
  { digest, size, mediaType }: Descriptor,
  { role, files, sink }: Place & { role: BlobRole },
): Promise<ArchivedBlob | undefined> {
  const stored = (await files.store(blobPath(digest))) ?? (await sink.stat(digest))
  if (!stored) return undefined
  if (stored.size !== size) {
    const wanted = `${size} bytes as in its descriptor`
    throw archiveInvalid(`blob ${digest}`, { wanted, found: stored.size })
  }
  return { digest, size, mediaType, role }
}
