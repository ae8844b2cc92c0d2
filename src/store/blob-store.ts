import type { Readable } from 'node:stream'

import type { Digest } from '../oci/digest.ts'

/** Bytes `start` to `end`, both included, as HTTP counts them (RFC 9110, Byte Ranges). */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** How a range is read. */
export interface ReadOptions {
  readonly signal: AbortSignal
  /**
   * The reader looks at a chunk until it asks for the next one, and no longer, so that the buffer may be used again;
   * at the last chunk it may look for ever.
   */
  readonly isLent?: boolean
}

export interface StoredBlob {
  readonly digest: Digest
  /** bytes */
  readonly size: number
}

/** What ingest learns in its one pass over the bytes. */
export interface IngestedBlob extends StoredBlob {
  /** the SHA-1 of every piece, 20 bytes each; where a piece length was asked for and the source was read */
  readonly pieceHashes?: Buffer
  /** false where the blob was there before */
  readonly isNew: boolean
}

export interface IngestOptions {
  /** bytes that `source` must bring, no more and no less */
  readonly size?: number
  readonly digest?: Digest
  /** at most this many bytes where the size is not known */
  readonly maxBytes?: number
  /** hash pieces of this many bytes on the way, for the metainfo */
  readonly pieceLength?: number
  readonly signal?: AbortSignal
}

/** Random access to a complete blob, for serving pieces. Close it when done. */
export interface BlobFile extends AsyncDisposable {
  readonly size: number
  /** Exactly `length` bytes from `offset`. */
  read(offset: number, length: number): Promise<Buffer>
  /** Fills `bytes` from `offset`. */
  readInto(bytes: Uint8Array, offset: number): Promise<void>
}

/**
 * A blob under download: a sparse file and a bitfield that survive a restart. Every piece written must have
 * been verified against its SHA-1 before. The SHA-256 of the whole follows the verified prefix while pieces
 * arrive, so that `commit` costs no second pass.
 */
export interface PartialBlob extends AsyncDisposable {
  readonly digest: Digest
  readonly size: number
  readonly pieceLength: number
  readonly pieceCount: number
  /** the pieces that are here: BEP 3 bit order, ceil(pieceCount / 8) bytes; a live view */
  readonly bitfield: Uint8Array
  hasPiece(index: number): boolean
  /** where its bytes are, for another process that reads and writes pieces */
  readonly path: string
  /** A verified piece was written into the file by another process: it is here from now on. */
  adoptPiece(index: number): void
  /**
   * Keeps a verified piece; one that is here already stays as it is. `bytes` are free again when this returns.
   * @throws OperationError DISK_FULL: the other pieces stay; DISK_FAULTY, BLOB_SIZE_MISMATCH
   */
  writePiece(index: number, bytes: Uint8Array): Promise<void>
  /** Exactly `length` bytes from `offset`; the caller knows that their pieces are here. */
  read(offset: number, length: number): Promise<Buffer>
  /** Fills `bytes` from `offset`; the caller knows that their pieces are here. */
  readInto(bytes: Uint8Array, offset: number): Promise<void>
  /** Makes what is here survive a restart: the bytes first, then the bitfield. */
  checkpoint(): Promise<void>
  /**
   * With all pieces here: proves the SHA-256 of the whole, so that its last bytes may be given out.
   * @throws OperationError BLOB_DIGEST_MISMATCH: nothing stays on disk
   */
  prove(): Promise<void>
  /**
   * With all pieces here: proves the SHA-256, makes the blob durable and complete. Reads go on afterwards.
   * @throws OperationError BLOB_DIGEST_MISMATCH: nothing stays on disk
   */
  commit(): Promise<void>
  /** Removes what is here. */
  discard(): Promise<void>
}

/** What an upload learnt of its blob, which is durable but has no name yet. */
export type PreparedBlob = Omit<IngestedBlob, 'isNew'>

/**
 * A blob that comes in parts, and whose size and digest are told at the end: a push. Hashed and written on the way.
 * Nothing of it survives unless it is committed. One call at a time. Dispose of it, after a commit too.
 */
export interface BlobUpload extends AsyncDisposable {
  /** bytes that are here */
  readonly size: number
  /**
   * Adds what `source` brings; its chunks belong to the store. Where the source fails, what came before stays, and
   * more may follow.
   * @param options.maxBytes of the whole upload
   * @throws OperationError BLOB_SIZE_MISMATCH, DISK_FULL, DISK_READ_ONLY, DISK_FAULTY; what the source throws, unchanged
   */
  append(
    source: AsyncIterable<Uint8Array>,
    options?: { maxBytes?: number; signal?: AbortSignal },
  ): Promise<void>
  /** The SHA-512 of what is here, 128 hex digits; reads all of it. */
  sha512(): Promise<string>
  /**
   * Proves the digest and makes the bytes durable. Only `commit` may follow.
   * @throws OperationError BLOB_DIGEST_MISMATCH, DISK_FULL, DISK_READ_ONLY, DISK_FAULTY
   */
  prepare(options?: { digest?: Digest }): Promise<PreparedBlob>
  /** Gives what was prepared its name; durable when this returns. @throws OperationError DISK_FULL, DISK_READ_ONLY */
  commit(prepared: PreparedBlob): Promise<IngestedBlob>
}

/** Blobs by digest. A blob is complete and right, or absent. */
export interface BlobStore extends AsyncDisposable {
  has(digest: Digest): Promise<boolean>
  stat(digest: Digest): Promise<StoredBlob | undefined>
  /** A stream of the blob or of a range of it. @throws OperationError BLOB_UNKNOWN */
  open(digest: Digest, range?: ByteRange): Promise<Readable>
  /** Where a complete blob is, for another process that reads it. */
  pathOf(digest: Digest): string
  /** @throws OperationError BLOB_UNKNOWN */
  openFile(digest: Digest): Promise<BlobFile>
  /**
   * Keeps a blob: beside, hash while writing, fsync, rename, fsync of the folder. With `digest` given and here, the
   * source is given up unread. Its chunks belong to the store.
   * @throws OperationError BLOB_DIGEST_MISMATCH, BLOB_SIZE_MISMATCH, DISK_FULL, DISK_READ_ONLY, DISK_FAULTY: nothing
   * stays on disk; what the source throws, unchanged
   */
  ingest(source: AsyncIterable<Uint8Array>, options?: IngestOptions): Promise<IngestedBlob>
  /**
   * Begins an upload.
   * @param options.pieceLengthOf for the metainfo: bytes of a piece, for a blob of so many bytes
   * @throws OperationError DISK_FULL, DISK_READ_ONLY
   */
  openUpload(options: { pieceLengthOf: (size: number) => number }): Promise<BlobUpload>
  /**
   * Opens or resumes a download. One at a time per digest: a second one is a TypeError until the first was
   * committed, discarded or disposed of.
   * @throws OperationError DISK_FULL, DISK_READ_ONLY
   */
  openPartial(options: {
    digest: Digest
    size: number
    pieceLength: number
    /** proves pieces that a crash may have torn: SHA-1 of the piece, 20 bytes, by index */
    pieceHash?: (index: number) => Uint8Array
  }): Promise<PartialBlob>
  /** Digests with a download that can be resumed. */
  listPartials(): AsyncIterable<Digest>
  remove(digest: Digest): Promise<void>
  list(): AsyncIterable<StoredBlob>
}
