import { constants } from 'node:fs'
import { lstat, open, type FileHandle } from 'node:fs/promises'

import { OperationError, systemCodeOf } from '../errors.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import type { BlobFile, StoredBlob } from './blob-store.ts'
import { readExactly, readInto } from './file-bytes.ts'

const EMPTY_DIGEST = digestOf('')

/** What lies at `path` as the blob `digest`, or undefined where that cannot be it. */
export async function statBlob(path: string, digest: Digest): Promise<StoredBlob | undefined> {
  const found = await absentAsUndefined(lstat(path))
  if (!found?.isFile() || !isPossibleSize(digest, found.size)) return undefined
  return { digest, size: found.size }
}

/**
 * Opens a complete blob for reading.
 * @throws OperationError BLOB_UNKNOWN
 */
export async function openBlob(
  path: string,
  digest: Digest,
): Promise<{ file: FileHandle; size: number }> {
  // without O_NONBLOCK a FIFO in the place of a blob would hold a thread for ever
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const file = await absentAsUndefined(open(path, flags))
  if (!file) throw unknown(digest)
  try {
    const found = await file.stat()
    if (!found.isFile() || !isPossibleSize(digest, found.size)) throw unknown(digest)
    return { file, size: found.size }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Random access to a complete blob on disk. */
export class DiskBlobFile implements BlobFile {
  readonly size: number
  readonly #file: FileHandle
  #closing: Promise<void> | undefined

  constructor({ file, size }: { file: FileHandle; size: number }) {
    this.#file = file
    this.size = size
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return readExactly(this.#file, offset, length)
  }

  async readInto(bytes: Uint8Array, offset: number): Promise<void> {
    return readInto(this.#file, bytes, offset)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#file.close()
    return this.#closing
  }
}

/** A power cut may leave a name without its bytes, where a disk does not keep what it promised. */
function isPossibleSize(digest: Digest, size: number): boolean {
  return size === 0 ? digest === EMPTY_DIGEST : digest !== EMPTY_DIGEST
}

async function absentAsUndefined<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work
  } catch (error) {
    // ELOOP: a symbolic link; ENXIO: a socket
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(systemCodeOf(error) ?? ''))
      return undefined
    throw error
  }
}

function unknown(digest: Digest): OperationError {
  return new OperationError('BLOB_UNKNOWN', `blob ${digest} is not in the store`, {
    details: { digest },
  })
}
