import { lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { messageOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { hexOf, isDigest, parseDigest, type Digest } from '../oci/digest.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { diskError } from '../support/disk-error.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import { silentLog, type Log } from '../telemetry/log.ts'

const SUFFIX = '.json'
const MAX_FILE_BYTES = 256 * 1024
const MAX_REPOSITORIES = 256
const READ_CONCURRENCY = 16

/**
 * What a registry gave away only for a credential: manifests, and blobs that came without one, with the
 * repositories that are known to have them. One small file each, `<hex>.json`, and not LevelDB: a mark that got
 * lost would make private content public. A damaged file keeps its mark, with no repository.
 */
export class PrivateContent {
  readonly #path: string
  readonly #marks: Map<Digest, ReadonlySet<string>>
  readonly #writing = new KeyedLock()

  private constructor(path: string, marks: Map<Digest, ReadonlySet<string>>) {
    this.#path = path
    this.#marks = marks
  }

  /** @throws OperationError DATA_DIR_UNUSABLE, DISK_FULL, DISK_READ_ONLY */
  static async open(
    path: string,
    { log = silentLog }: { log?: Log } = {},
  ): Promise<PrivateContent> {
    try {
      await mkdir(path, { recursive: true, mode: 0o700 })
      const names = await readdir(path)
      const marks = await mapConcurrently(names, READ_CONCURRENCY, (name) =>
        readMark(path, name, log),
      )
      return new PrivateContent(path, new Map(marks.filter((mark) => mark !== undefined)))
    } catch (error) {
      throw diskError(error, `marks of private content ${path}`)
    }
  }

  /** Whether nothing is private: no question needs to be asked. */
  get isEmpty(): boolean {
    return this.#marks.size === 0
  }

  has(digest: Digest): boolean {
    return this.#marks.has(digest)
  }

  /** `registry/repository` of those that are known to have it; empty where none is known. */
  repositoriesOf(digest: Digest): ReadonlySet<string> {
    return this.#marks.get(digest) ?? new Set()
  }

  /** Marks a digest as private. Survives a power cut. @param repository one that has it, where that is known */
  async add(digest: Digest, repository?: string): Promise<void> {
    await this.#writing.run(digest, async () => {
      const known = this.#marks.get(digest)
      if (known && (repository === undefined || known.has(repository))) return
      const repositories = new Set([...(known ?? []), ...(repository ? [repository] : [])])
      if (repositories.size > MAX_REPOSITORIES) return
      await this.#write(digest, repositories)
      this.#marks.set(digest, repositories)
    })
  }

  /** Anybody may read it: the mark goes. */
  async remove(digest: Digest): Promise<void> {
    if (!this.#marks.has(digest)) return
    await this.#writing.run(digest, async () => {
      this.#marks.delete(digest)
      await rm(this.#fileOf(digest), { force: true })
    })
  }

  async #write(digest: Digest, repositories: ReadonlySet<string>): Promise<void> {
    const content = JSON.stringify({ digest, repositories: [...repositories] })
    try {
      await writeFileAtomically(this.#fileOf(digest), content)
    } catch (error) {
      throw diskError(error, `mark of private ${digest}`)
    }
  }

  #fileOf(digest: Digest): string {
    return join(this.#path, `${hexOf(digest)}${SUFFIX}`)
  }
}

async function readMark(
  folder: string,
  name: string,
  log: Log,
): Promise<[Digest, ReadonlySet<string>] | undefined> {
  const path = join(folder, name)
  const digest = `sha256:${name.slice(0, -SUFFIX.length)}`
  if (!name.endsWith(SUFFIX) || !isDigest(digest)) {
    // what a crash left of a file that was being written
    await rm(path, { recursive: true, force: true }).catch(() => undefined)
    return undefined
  }
  try {
    const found = await lstat(path)
    if (!found.isFile() || found.size > MAX_FILE_BYTES) throw new TypeError('it is no mark')
    const { repositories } = asRecord(JSON.parse(await readFile(path, 'utf8'))) ?? {}
    const texts = Array.isArray(repositories) ? repositories : []
    return [parseDigest(digest), new Set(texts.filter((text) => typeof text === 'string'))]
  } catch (error) {
    log.warn({ path, error: messageOf(error) }, 'a mark of private content is damaged, and kept')
    return [parseDigest(digest), new Set()]
  }
}
