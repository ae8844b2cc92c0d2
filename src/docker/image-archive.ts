/**
 * Images from outside: `docker save`, `podman save` and `skopeo` tars and OCI image layouts.
 *
 *   bytes ─▶ tar-entries ─▶ tar-archive-files ┐ layers go into the sink while they pass
 *   folder ────────────▶ folder-archive-files ┴▶ layout-index   index.json: the original roots, kept
 *                                                docker-table   manifest.json: the deterministic manifest
 *
 * Blobs that were taken in before a failure stay in the sink: each is right by its digest. No image is
 * returned unless all that it needs is there.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'

import { isOperationError, messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { MAX_TABLE_BYTES, type ArchiveFiles } from './archive-files.ts'
import { archiveInvalid, joinImages, type ArchivedImage } from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'
import { parseDockerTable, readTableImage, type TableImage } from './docker-table.ts'
import { openFolderFiles } from './folder-archive-files.ts'
import { parseLayoutIndex, readLayoutImage, readRootManifest } from './layout-index.ts'
import { collectTarFiles } from './tar-archive-files.ts'
import { readTarEntries } from './tar-entries.ts'

export type { ArchivedBlob, ArchivedImage } from './archived-image.ts'

const UNREADABLE: ReadonlySet<string> = new Set(
  'ENOENT ENOTDIR EACCES EPERM ELOOP ENAMETOOLONG'.split(' '),
)

interface ReadOptions {
  readonly signal?: AbortSignal
}

/**
 * Takes the images out of a tar, plain or in gzip or zstd, in one pass. Blobs that the sink has are skipped.
 * The caller closes `source`; its failures pass unchanged.
 * @throws OperationError ARCHIVE_INVALID, ARCHIVE_INCOMPLETE, BLOB_DIGEST_MISMATCH, and what the sink throws
 */
export async function readImageArchive(
  source: AsyncIterable<Uint8Array>,
  sink: BlobSink,
  { signal }: ReadOptions = {},
): Promise<ArchivedImage[]> {
  const entries = readTarEntries(source, signal ? { signal } : {})
  const files = await collectTarFiles(entries, sink)
  return await readImages({ files, sink, ...(signal && { signal }) })
}

/**
 * Takes the images out of a folder: an OCI image layout, or an unpacked `docker save` archive.
 * @throws OperationError as {@link readImageArchive}
 */
export async function readImageLayout(
  path: string,
  sink: BlobSink,
  { signal }: ReadOptions = {},
): Promise<ArchivedImage[]> {
  signal?.throwIfAborted()
  const files = await openFolderFiles(path, sink, signal ? { signal } : {})
  return await readImages({ files, sink, ...(signal && { signal }) })
}

/**
 * Takes the images out of a file or a folder, whichever `path` is.
 * @throws OperationError as {@link readImageArchive}
 */
export async function importPath(
  path: string,
  sink: BlobSink,
  options: ReadOptions = {},
): Promise<ArchivedImage[]> {
  try {
    const isFolder = (await stat(path)).isDirectory()
    return await (isFolder ? readImageLayout : importFile)(path, sink, options)
  } catch (error) {
    throw explain(error, path, options.signal)
  }
}

async function importFile(
  path: string,
  sink: BlobSink,
  options: ReadOptions,
): Promise<ArchivedImage[]> {
  const file = createReadStream(path, { highWaterMark: 256 * 1024 })
  try {
    return await readImageArchive(file, sink, options)
  } finally {
    file.destroy()
  }
}

interface Place extends ReadOptions {
  readonly files: ArchiveFiles
  readonly sink: BlobSink
}

async function readImages(place: Place): Promise<ArchivedImage[]> {
  try {
    const images = joinImages(await readAll(place))
    if (images.length > 0) return images
    throw archiveInvalid('archive', { wanted: 'an image', found: 'none' })
  } catch (error) {
    throw isOperationError(error, 'MANIFEST_INVALID')
      ? new OperationError('ARCHIVE_INVALID', `archive: ${error.message}`, { cause: error })
      : error
  }
}

async function readAll(place: Place): Promise<ArchivedImage[]> {
  const index = await place.files.read('index.json', MAX_TABLE_BYTES)
  const table = await place.files.read('manifest.json', MAX_TABLE_BYTES)
  if (!index && !table) {
    const wanted = 'index.json of an image layout or manifest.json of `docker save`'
    throw archiveInvalid('archive', { wanted, found: 'neither' })
  }
  await checkLayoutVersion(place.files)
  const entries = table ? parseDockerTable(table) : []
  // The classic store since Docker 25 writes both, but its index.json leaves images without a name out.
  if (!index || entries.some((entry) => entry.hasLayerSources))
    return await readTable(entries, place)
  return await readLayout(index, entries, place)
}

async function readTable(entries: readonly TableImage[], place: Place): Promise<ArchivedImage[]> {
  const images: ArchivedImage[] = []
  for (const entry of entries) images.push(await readTableImage(entry, place))
  return images
}

async function readLayout(
  index: Buffer,
  entries: readonly TableImage[],
  place: Place,
): Promise<ArchivedImage[]> {
  const images: ArchivedImage[] = []
  for (const root of parseLayoutIndex(index)) {
    const hollow = await findHollow(root, entries, place)
    images.push(await (hollow ? readTableImage(hollow, place) : readLayoutImage(root, place)))
  }
  return images
}

/** Docker 25.0.0 wrote manifests without their layers (moby#47065); manifest.json has them. */
async function findHollow(
  root: Parameters<typeof readRootManifest>[0],
  entries: readonly TableImage[],
  place: Place,
): Promise<TableImage | undefined> {
  if (entries.length === 0) return undefined
  const manifest = await readRootManifest(root, place)
  if (!manifest || manifest.layers.length > 0) return undefined
  const config = manifest.config.digest.replace(':', '/')
  return entries.find(
    (entry) => entry.configPath === `blobs/${config}` && entry.layerPaths.length > 0,
  )
}

async function checkLayoutVersion(files: ArchiveFiles): Promise<void> {
  const content = await files.read('oci-layout', 4096)
  if (!content) return
  const found = asRecord(parseText(content))?.['imageLayoutVersion']
  if (typeof found === 'string' && found.startsWith('1.')) return
  throw archiveInvalid('oci-layout', { wanted: 'imageLayoutVersion 1', found: String(found) })
}

function parseText(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString())
  } catch {
    return undefined
  }
}

function explain(error: unknown, path: string, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason
  const code = systemCodeOf(error)
  if (isOperationError(error) || !UNREADABLE.has(code ?? '')) return error
  const found = code === 'ENOENT' ? 'nothing there' : messageOf(error)
  return archiveInvalid(path, { wanted: 'a tar or an image layout', found, cause: error })
}
