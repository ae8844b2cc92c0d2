import { Readable } from 'node:stream'

import { OperationError } from '../errors.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import type { BlobSink } from '../docker/blob-sink.ts'
import { collectBytes } from '../docker/byte-streams.ts'

/** A sink that keeps its blobs in memory and counts what was ingested: for tests. */
export class MemoryBlobSink implements BlobSink {
  readonly blobs = new Map<Digest, Buffer>()
  /** digests in the order in which their bytes were read */
  readonly ingested: Digest[] = []

  async stat(digest: Digest): Promise<{ size: number } | undefined> {
    const blob = this.blobs.get(digest)
    return blob && { size: blob.length }
  }

  async ingest(
    source: AsyncIterable<Uint8Array>,
    { size, digest: wanted }: { size: number; digest?: Digest },
  ): Promise<{ digest: Digest; size: number; isNew: boolean }> {
    const blob = await collectBytes(source)
    const digest = digestOf(blob)
    if (blob.length !== size) {
      const found = `wanted ${size} bytes, found ${blob.length}`
      throw new OperationError('BLOB_SIZE_MISMATCH', `blob ${digest}: ${found}`)
    }
    if (wanted !== undefined && wanted !== digest) {
      throw new OperationError('BLOB_DIGEST_MISMATCH', `blob: wanted ${wanted}, found ${digest}`)
    }
    const isNew = !this.blobs.has(digest)
    this.blobs.set(digest, blob)
    this.ingested.push(digest)
    // Stores tell more than is asked for; nothing of it may get into the images.
    return { digest, size, isNew }
  }

  async read(digest: Digest): Promise<Buffer> {
    const blob = this.blobs.get(digest)
    if (!blob) throw new OperationError('BLOB_UNKNOWN', `blob ${digest} is not held`)
    return blob
  }

  async open(digest: Digest): Promise<Readable> {
    return Readable.from([await this.read(digest)], { objectMode: false })
  }
}
