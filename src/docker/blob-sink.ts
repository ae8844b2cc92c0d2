import type { Readable } from 'node:stream'

import type { Digest } from '../oci/digest.ts'

/** Where the blobs of this room go to and come from: what it needs of a store, no more. */
export interface BlobSink {
  /** The size in bytes of a blob that is held complete. */
  stat(digest: Digest): Promise<{ readonly size: number } | undefined>
  /**
   * Keeps a blob; `source` brings exactly `size` bytes and is read once.
   * @throws OperationError BLOB_DIGEST_MISMATCH, BLOB_SIZE_MISMATCH, DISK_FULL: nothing of it is kept
   */
  ingest(
    source: AsyncIterable<Uint8Array>,
    options: { size: number; digest?: Digest },
  ): Promise<{ readonly digest: Digest; readonly size: number }>
  /** A small blob, whole: manifests and configs only. @throws OperationError BLOB_UNKNOWN */
  read(digest: Digest): Promise<Buffer>
  /** @throws OperationError BLOB_UNKNOWN */
  open(digest: Digest): Promise<Readable>
}
