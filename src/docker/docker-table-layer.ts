import { OperationError } from '../errors.ts'
import { Digester, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { decompress, detectCompression, MAGIC_BYTES, peek } from './archive-compression.ts'
import type { ArchiveFiles, StoredFile } from './archive-files.ts'
import { archiveIncomplete } from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'

/** A layer in the sink, compressed or not. */
export interface FoundLayer extends StoredFile {
  readonly mediaType: string
}

const OCI_LAYER_ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd'

/**
 * The layer behind a path of manifest.json, proved against the diffID that the config gives.
 * @throws OperationError ARCHIVE_INCOMPLETE, BLOB_DIGEST_MISMATCH
 */
export async function findLayer(
  { path, diffId }: { path: string; diffId: Digest },
  place: { files: ArchiveFiles; sink: BlobSink; signal?: AbortSignal },
): Promise<FoundLayer> {
  const { files, sink } = place
  const stored = (await files.store(path)) ?? (await findHeld(diffId, sink))
  if (!stored) throw archiveIncomplete('manifest.json', `layer ${path}`)
  if (stored.digest === diffId) return { ...stored, mediaType: MEDIA_TYPES.ociLayer }
  return { ...stored, mediaType: await proveCompressedLayer(stored, diffId, place) }
}

async function findHeld(digest: Digest, sink: BlobSink): Promise<StoredFile | undefined> {
  const held = await sink.stat(digest)
  return held && { digest, size: held.size }
}

/** Some writers compress the layers of this format (Docker takes them): what is inside must be the diffID. */
async function proveCompressedLayer(
  { digest }: StoredFile,
  diffId: Digest,
  { sink, signal }: { sink: BlobSink; signal?: AbortSignal },
): Promise<string> {
  const { head, whole } = await peek(await sink.open(digest), MAGIC_BYTES)
  const compression = detectCompression(head)
  const digester = new Digester()
  if (compression === 'none') throw mismatch(diffId, digest)
  for await (const chunk of decompress(whole)) {
    signal?.throwIfAborted()
    digester.update(chunk)
  }
  const found = digester.digest()
  if (found !== diffId) throw mismatch(diffId, found)
  return compression === 'zstd' ? OCI_LAYER_ZSTD : MEDIA_TYPES.ociLayerGzip
}

function mismatch(wanted: Digest, found: Digest): OperationError {
  return new OperationError(
    'BLOB_DIGEST_MISMATCH',
    `layer in the archive: wanted ${wanted} as in its config, found ${found}`,
    { details: { wanted, found } },
  )
}
