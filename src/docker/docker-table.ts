/**
 * `manifest.json` of a `docker save` archive (Docker Image Specification v1.2): which config and which layer
 * files make an image. The classic store has no manifests, so its images get the deterministic one here.
 */
import { asRecord } from '../oci/descriptor.ts'
import { digestOf, isDigest, type Digest } from '../oci/digest.ts'
import { makeDeterministicManifest, MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import type { ArchiveFiles } from './archive-files.ts'
import { normaliseArchivePath } from './archive-path.ts'
import {
  archiveIncomplete,
  archiveInvalid,
  checkLayerCount,
  type ArchivedBlob,
  type ArchivedImage,
} from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'
import { streamOf } from './byte-streams.ts'
import { findLayer, type FoundLayer } from './docker-table-layer.ts'

const MAX_IMAGES = 10_000

/** An image of the table. */
export interface TableImage {
  readonly configPath: string
  readonly names: readonly string[]
  readonly layerPaths: readonly string[]
  /** the classic store since Docker 25 says where layers come from; no other writer does */
  readonly hasLayerSources: boolean
}

/**
 * @param content the bytes of manifest.json
 * @throws OperationError ARCHIVE_INVALID
 */
export function parseDockerTable(content: Uint8Array): TableImage[] {
  const table = parseJson('manifest.json', content)
  if (!Array.isArray(table) || table.length > MAX_IMAGES) {
    const found = Array.isArray(table) ? table.length : typeof table
    throw archiveInvalid('manifest.json', { wanted: `a list of at most ${MAX_IMAGES}`, found })
  }
  return table.map((entry, index) => parseTableImage(entry, `manifest.json[${index}]`))
}

/**
 * Makes the image of a table entry, under the manifest that every holder of it makes.
 * @throws OperationError ARCHIVE_INVALID, ARCHIVE_INCOMPLETE, BLOB_DIGEST_MISMATCH
 */
export async function readTableImage(
  image: TableImage,
  place: { files: ArchiveFiles; sink: BlobSink; signal?: AbortSignal },
): Promise<ArchivedImage> {
  const { files, sink } = place
  const diffIds = await readDiffIds(image, files)
  const layers: FoundLayer[] = []
  for (const [index, path] of image.layerPaths.entries()) {
    const diffId = diffIds[index]
    if (diffId !== undefined) layers.push(await findLayer({ path, diffId }, place))
  }
  const config = await files.store(image.configPath)
  if (!config) throw archiveIncomplete('manifest.json', image.configPath)
  return await storeImage({ names: image.names, config, layers }, sink)
}

/**
 * Puts the manifest of a config and its layers into the sink.
 * @param image its config and its layers, all in the sink
 */
export async function storeImage(
  image: {
    readonly names: readonly string[]
    readonly config: { readonly digest: Digest; readonly size: number }
    readonly layers: readonly FoundLayer[]
  },
  sink: BlobSink,
): Promise<ArchivedImage> {
  const { config, layers } = image
  const content = makeManifest(config, layers)
  const manifest = {
    mediaType: MEDIA_TYPES.ociManifest,
    digest: digestOf(content),
    size: content.length,
  }
  if (!(await sink.stat(manifest.digest))) await sink.ingest(streamOf(content), manifest)
  const blobs: ArchivedBlob[] = [
    { ...manifest, role: 'manifest' },
    { ...config, mediaType: MEDIA_TYPES.ociConfig, role: 'config' },
    ...layers.map((layer): ArchivedBlob => ({ ...layer, role: 'layer' })),
  ]
  return { manifest, names: [...image.names], blobs }
}

/** The diffIDs of a config, base first (image-spec, config.md, rootfs). @throws OperationError ARCHIVE_INVALID */
export function parseDiffIds(content: Uint8Array, what: string): Digest[] {
  const rootfs = asRecord(asRecord(parseJson(what, content))?.['rootfs'])
  const diffIds: unknown = rootfs?.['diff_ids'] ?? []
  if (!rootfs || !Array.isArray(diffIds) || !diffIds.every(isDigest)) {
    throw archiveInvalid(what, { wanted: 'rootfs.diff_ids, a list of digests', found: 'none' })
  }
  return diffIds
}

async function readDiffIds(image: TableImage, files: ArchiveFiles): Promise<Digest[]> {
  const { configPath, layerPaths } = image
  const config = await files.read(configPath, MAX_MANIFEST_BYTES)
  if (!config) throw archiveIncomplete('manifest.json', configPath)
  checkConfigName(configPath, config)
  const diffIds = parseDiffIds(config, configPath)
  if (diffIds.length !== layerPaths.length) {
    const wanted = `${diffIds.length} layers as in its config`
    throw archiveInvalid(configPath, { wanted, found: layerPaths.length })
  }
  return diffIds
}

/** `<hex>.json`, and `sha256:<hex>` of some writers: the name of a config is its digest. */
function checkConfigName(path: string, content: Buffer): void {
  const hex = /^(?:sha256:)?([0-9a-f]{64})(?:\.json)?$/.exec(path)?.[1]
  const found = digestOf(content)
  if (hex !== undefined && found !== `sha256:${hex}`) {
    throw archiveInvalid(path, { wanted: `a config of digest sha256:${hex}`, found })
  }
}

function makeManifest(
  config: { readonly digest: Digest; readonly size: number },
  layers: readonly FoundLayer[],
): Buffer {
  const plain = makeDeterministicManifest(config, layers)
  if (layers.every(({ mediaType }) => mediaType === MEDIA_TYPES.ociLayer)) return plain
  // Compressed layers without a manifest: the same document, but it must say so.
  const document = asRecord(JSON.parse(plain.toString()))
  return Buffer.from(JSON.stringify({ ...document, layers: layers.map(describe) }))
}

function describe({ mediaType, digest, size }: FoundLayer): FoundLayer {
  return { mediaType, digest, size }
}

function parseTableImage(value: unknown, what: string): TableImage {
  const entry = asRecord(value)
  const config = entry?.['Config']
  const layers: unknown = entry?.['Layers'] ?? []
  const names: unknown = entry?.['RepoTags'] ?? []
  if (!entry || typeof config !== 'string' || !isTextList(layers) || !isTextList(names)) {
    throw archiveInvalid(what, { wanted: 'Config, RepoTags and Layers', found: 'something else' })
  }
  checkLayerCount(what, layers.length)
  return {
    configPath: normaliseArchivePath(config),
    names,
    layerPaths: layers.map((path) => normaliseArchivePath(path)),
    hasLayerSources: asRecord(entry['LayerSources']) !== undefined,
  }
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string')
}

function parseJson(what: string, content: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content))
  } catch (cause) {
    throw archiveInvalid(what, { wanted: 'JSON in UTF-8', found: 'something else', cause })
  }
}
