import { link, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { systemCodeOf } from '../errors.ts'
import { hexOf, isDigest, type Digest } from '../oci/digest.ts'
import { diskError } from '../support/disk-error.ts'

/**
 * A folder with a second name (a hard link) for each published blob, `<64 hex digits>`: all that the process which talks
 * to everybody can read of the store. It takes no space; it lies below `blobs/`, so that it is on the same file system.
 */
export class PublishedFiles {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  pathOf(digest: Digest): string {
    return join(this.#folder, hexOf(digest))
  }

  /**
   * Makes the folder. It has to be there before the process is started: Node gives no right to a folder that is not.
   * @throws OperationError as {@link keep}
   */
  async open(): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    } catch (error) {
      throw diskError(error, `published blobs ${this.#folder}: wanted to make the folder`)
    }
  }

  /**
   * Makes the folder hold these blobs and no others. One call at a time.
   * @param sourceOf where the store has a blob; one that is not there is left out
   * @throws OperationError DISK_FULL, DISK_READ_ONLY, DISK_FAULTY, DATA_DIR_UNUSABLE
   */
  async keep(digests: ReadonlySet<Digest>, sourceOf: (digest: Digest) => string): Promise<void> {
    try {
      if (digests.size === 0) {
        await rm(this.#folder, { recursive: true, force: true })
        return
      }
      await mkdir(this.#folder, { recursive: true, mode: 0o700 })
      for (const name of await readdir(this.#folder)) {
        const digest = `sha256:${name}`
        if (!isDigest(digest) || !digests.has(digest)) await rm(join(this.#folder, name))
      }
      for (const digest of digests) await keepOne(sourceOf(digest), this.pathOf(digest))
    } catch (error) {
      throw diskError(error, `published blobs ${this.#folder}: wanted to link them`)
    }
  }
}

async function keepOne(source: string, path: string): Promise<void> {
  const wanted = await inodeOf(source)
  const found = await inodeOf(path)
  if (wanted === found) return
  // the store lost it, or has it anew
  if (found !== undefined) await rm(path)
  if (wanted !== undefined) await link(source, path)
}

async function inodeOf(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).ino
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
