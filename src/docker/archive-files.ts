import type { Digest } from '../oci/digest.ts'

/** `index.json` and `manifest.json` of archives of many images are larger than one manifest may be. */
export const MAX_TABLE_BYTES = 16 * 1024 * 1024

/** A file of an archive that is now in the sink. */
export interface StoredFile {
  readonly digest: Digest
  /** bytes */
  readonly size: number
}

/** The files of an image archive, whether they lie in a folder or came by in a tar. Paths are normalised. */
export interface ArchiveFiles {
  /**
   * A small file, whole; undefined where there is none.
   * @throws OperationError ARCHIVE_INVALID: larger than `maxBytes`
   */
  read(path: string, maxBytes: number): Promise<Buffer | undefined>
  /**
   * Sees that a file is in the sink; undefined where there is none.
   * @throws OperationError BLOB_DIGEST_MISMATCH: the file is not what its name promises
   */
  store(path: string): Promise<StoredFile | undefined>
}
