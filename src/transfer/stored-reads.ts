import type { Digest } from '../oci/digest.ts'
import type { BlobFile, BlobStore, ByteRange, ReadOptions } from '../store/blob-store.ts'
import { release } from '../support/buffer-lender.ts'
import type { SharedReads } from './shared-reads.ts'

/** Blobs of the store, read for clients. */
export class StoredReads {
  readonly #store: Pick<BlobStore, 'openFile'>
  readonly #reads: SharedReads

  constructor(options: { store: Pick<BlobStore, 'openFile'>; reads: SharedReads }) {
    this.#store = options.store
    this.#reads = options.reads
  }

  /**
   * The bytes of a range in order, for one who has entered the shared reads. The next are read while the last are sent, unless too many do that.
   * @throws OperationError BLOB_UNKNOWN
   */
  async *read(
    digest: Digest,
    { start, end }: ByteRange,
    { signal, isLent = false }: ReadOptions,
  ): AsyncIterable<Buffer> {
    await using file = await this.#store.openFile(digest)
    let ahead: Promise<Buffer> | undefined
    for (let offset = start; offset <= end;) {
      signal.throwIfAborted()
      const bytes = await (ahead ?? this.#readAt(digest, file, { start: offset, end }))
      offset += bytes.length
      const goesAhead = offset <= end && !this.#reads.isCrowded
      ahead = goesAhead ? this.#readAt(digest, file, { start: offset, end }) : undefined
      // where the reader leaves, nobody asks for it any more
      ahead?.catch(() => undefined)
      yield bytes
      if (isLent && offset <= end) release(bytes)
    }
  }

  async #readAt(digest: Digest, file: BlobFile, { start, end }: ByteRange): Promise<Buffer> {
    const length = Math.min(this.#reads.lengthAt(start), end + 1 - start)
    const range = { source: digest, offset: start, length }
    return this.#reads.read(range, (bytes, offset) => file.readInto(bytes, offset))
  }
}
