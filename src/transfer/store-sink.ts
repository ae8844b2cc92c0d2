import type { Readable } from 'node:stream'

import type { Catalog } from '../catalog/catalog.ts'
import { OperationError } from '../errors.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobStore, StoredBlob } from '../store/blob-store.ts'
import { makeTorrent } from '../torrent/metainfo.ts'
import { pieceLength } from '../torrent/piece-length.ts'

// A config of an image with thousands of build steps is a few MiB.
const MAX_SMALL_BYTES = 4 * MAX_MANIFEST_BYTES

/** Where archives and engines put their blobs: the store, with the torrent made in the same pass over the bytes. */
export class StoreSink {
  readonly #store: BlobStore
  readonly #catalog: Catalog
  /** bytes that were not in the store before */
  newBytes = 0

  constructor(options: { store: BlobStore; catalog: Catalog }) {
    this.#store = options.store
    this.#catalog = options.catalog
  }

  stat(digest: Digest): Promise<StoredBlob | undefined> {
    return this.#store.stat(digest)
  }

  async ingest(
    source: AsyncIterable<Uint8Array>,
    options: { size: number; digest?: Digest },
  ): Promise<StoredBlob> {
    const blob = await this.#store.ingest(source, {
      ...options,
      pieceLength: pieceLength(options.size),
    })
    if (blob.pieceHashes) {
      await this.#catalog.putTorrent(
        makeTorrent({ digest: blob.digest, size: blob.size, pieces: blob.pieceHashes }),
      )
    }
    if (blob.isNew) this.newBytes += blob.size
    return blob
  }

  async read(digest: Digest): Promise<Buffer> {
    return readSmallBlob(this.#store, digest)
  }

  open(digest: Digest): Promise<Readable> {
    return this.#store.open(digest)
  }
}

/** A manifest or config, whole. @throws OperationError BLOB_UNKNOWN, BLOB_SIZE_MISMATCH */
export async function readSmallBlob(
  store: Pick<BlobStore, 'stat' | 'openFile'>,
  digest: Digest,
): Promise<Buffer> {
  const stat = await store.stat(digest)
  if (!stat) throw new OperationError('BLOB_UNKNOWN', `blob ${digest}: not in the store`)
  if (stat.size > MAX_SMALL_BYTES) {
    throw new OperationError(
      'BLOB_SIZE_MISMATCH',
      `blob ${digest}: wanted a manifest or config, found ${stat.size} bytes`,
    )
  }
  await using file = await store.openFile(digest)
  return file.read(0, file.size)
}
