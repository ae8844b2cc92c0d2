import { OperationError } from '../errors.ts'
import { asRecord, foundText, parseDescriptor, type Descriptor } from './descriptor.ts'
import { isImageIndexType, isImageManifestType, MEDIA_TYPES } from './media-types.ts'
import { hostPlatform, platformMatches, type Platform } from './platform.ts'

/** A manifest larger than this is refused; containerd and distribution stop at about 4 MiB. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024

/** A manifest of one image: its config and its layers, base first (image-spec, manifest.md). */
export interface ImageManifest {
  readonly kind: 'image'
  readonly mediaType: string
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
}

/** A list of manifests (image-spec, image-index.md). */
export interface ImageIndex {
  readonly kind: 'index'
  readonly mediaType: string
  readonly manifests: readonly Descriptor[]
}

export type Manifest = ImageManifest | ImageIndex

/**
 * Reads a manifest or an image index. The bytes themselves stay what is stored and served.
 * @throws OperationError MANIFEST_INVALID: not JSON, both kinds at once (GHSA-5j5w-g665-5m35), no kind
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw invalid(`wanted at most ${MAX_MANIFEST_BYTES} bytes, found ${bytes.length}`)
  }
  const document = asRecord(parseJson(bytes))
  if (!document) throw invalid('wanted a JSON object')
  if (document['schemaVersion'] !== 2) {
    throw invalid(`wanted schemaVersion 2, found ${foundText(document['schemaVersion'])}`)
  }
  const isIndex = Array.isArray(document['manifests'])
  const isImage = document['config'] !== undefined || Array.isArray(document['layers'])
  if (isIndex && isImage) throw invalid('it has the fields of an image and of an image index')
  if (!isIndex && !isImage) throw invalid('it has neither config and layers nor manifests')
  const mediaType = mediaTypeOf(document, isIndex)
  return isIndex
    ? { kind: 'index', mediaType, manifests: parseList(document['manifests'], 'manifests') }
    : {
        kind: 'image',
        mediaType,
        config: parseDescriptor(document['config'], 'config'),
        layers: parseList(document['layers'] ?? [], 'layers'),
      }
}

/** What a manifest refers to, in the order in which it is wanted: config first, then layers or manifests. */
export function childrenOf(manifest: Manifest): readonly Descriptor[] {
  return manifest.kind === 'index' ? manifest.manifests : [manifest.config, ...manifest.layers]
}

/** The manifest of an index that runs on `platform`, the host's unless told otherwise. */
export function selectPlatform(
  index: ImageIndex,
  platform: Platform = hostPlatform(),
): Descriptor | undefined {
  return index.manifests.find(
    (entry) => entry.platform?.os !== 'unknown' && platformMatches(entry.platform, platform),
  )
}

/**
 * The manifest of an image whose compressed layers are gone (classic Docker store): uncompressed layers,
 * digest = diffID. Compact JSON with fixed key order, so every holder of an image makes the same bytes.
 */
export function makeDeterministicManifest(
  config: Pick<Descriptor, 'digest' | 'size'>,
  layers: readonly Pick<Descriptor, 'digest' | 'size'>[],
): Buffer {
  const entry = (mediaType: string, { digest, size }: Pick<Descriptor, 'digest' | 'size'>) => ({
    mediaType,
    digest,
    size,
  })
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: entry(MEDIA_TYPES.ociConfig, config),
      layers: layers.map((layer) => entry(MEDIA_TYPES.ociLayer, layer)),
    }),
  )
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new OperationError('MANIFEST_INVALID', 'manifest: wanted JSON in UTF-8', { cause })
  }
}

/** An OCI body may leave its media type out; then its shape tells. */
function mediaTypeOf(document: Record<string, unknown>, isIndex: boolean): string {
  const stated = document['mediaType']
  if (stated === undefined) return isIndex ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.ociManifest
  const fits =
    typeof stated === 'string' && (isIndex ? isImageIndexType : isImageManifestType)(stated)
  if (!fits) {
    const wanted = isIndex ? 'an image index type' : 'an image manifest type'
    throw invalid(`mediaType: wanted ${wanted}, found ${foundText(stated)}`)
  }
  return stated
}

function parseList(value: unknown, what: string): Descriptor[] {
  if (!Array.isArray(value)) throw invalid(`${what}: wanted a list`)
  return value.map((entry, index) => parseDescriptor(entry, `${what}[${index}]`))
}

function invalid(found: string): OperationError {
  return new OperationError('MANIFEST_INVALID', `manifest: ${found}`)
}
