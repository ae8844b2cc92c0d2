import { constants } from 'node:fs'
import { open, realpath, type FileHandle } from 'node:fs/promises'
import { join, sep } from 'node:path'

import { OperationError, systemCodeOf } from '../errors.ts'
import type { ArchiveFiles, StoredFile } from './archive-files.ts'
import { promisedDigest, suggestedDigest } from './archive-path.ts'
import type { BlobSink } from './blob-sink.ts'

/**
 * The files of an image layout, or of an unpacked archive, in a folder. Only what is asked for is read.
 * @throws OperationError ARCHIVE_INVALID: no such folder
 */
export async function openFolderFiles(
  folder: string,
  sink: BlobSink,
  { signal }: { signal?: AbortSignal } = {},
): Promise<ArchiveFiles> {
  return new FolderArchiveFiles(await realpath(folder), sink, signal)
}

class FolderArchiveFiles implements ArchiveFiles {
  readonly #root: string
  readonly #sink: BlobSink
  readonly #signal: AbortSignal | undefined
  readonly #stored = new Map<string, StoredFile>()

  constructor(root: string, sink: BlobSink, signal: AbortSignal | undefined) {
    this.#root = root
    this.#sink = sink
    this.#signal = signal
  }

  async read(path: string, maxBytes: number): Promise<Buffer | undefined> {
    await using file = await this.#open(path)
    if (!file) return undefined
    const { size } = await file.stat()
    if (size > maxBytes) throw invalid(path, `wanted at most ${maxBytes} bytes, found ${size}`)
    return await file.readFile()
  }

  async store(path: string): Promise<StoredFile | undefined> {
    const before = this.#stored.get(path)
    if (before) return before
    await using file = await this.#open(path)
    if (!file) return undefined
    const stored = await this.#storeFile(path, file)
    this.#stored.set(path, stored)
    return stored
  }

  async #storeFile(path: string, file: FileHandle): Promise<StoredFile> {
    const { size } = await file.stat()
    const known = suggestedDigest(path)
    if (known !== undefined && (await this.#sink.stat(known))?.size === size) {
      return { digest: known, size }
    }
    const bytes = file.createReadStream({
      autoClose: false,
      ...(this.#signal && { signal: this.#signal }),
    })
    const digest = promisedDigest(path)
    const stored = await this.#sink.ingest(bytes, { size, ...(digest && { digest }) })
    return { digest: stored.digest, size }
  }

  /** Opens a regular file below the root; a pipe or a device must not make the node wait. */
  async #open(path: string): Promise<FileHandle | undefined> {
    this.#signal?.throwIfAborted()
    try {
      const found = await realpath(join(this.#root, path))
      if (!found.startsWith(this.#root + sep)) throw invalid(path, 'it leaves the archive')
      const file = await open(found, constants.O_RDONLY | constants.O_NONBLOCK)
      if ((await file.stat()).isFile()) return file
      await file.close()
      throw invalid(path, 'wanted a file')
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')
}

function invalid(path: string, why: string): OperationError {
  return new OperationError('ARCHIVE_INVALID', `archive entry "${path}": ${why}`)
}
