import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { keyOf, partsOf, rangeOf } from './keys.ts'

/** Beyond this many, the oldest deletions are forgotten; what they hid is gone from most places by then. */
const MAX_DELETIONS = 10_000
const DELETIONS_BETWEEN_CHECKS = 100

/**
 * What clients pushed to which repository of this node, and what they deleted there again. A deletion is kept, as
 * the swarm may still hold what was deleted. Repositories are named as whoever writes here names them.
 */
export class PushedRecords {
  readonly #database: CatalogDatabase
  #deletions = 0

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  /** Whether anything was ever pushed there. */
  async isRepository(repository: string): Promise<boolean> {
    return (await this.#database.get(keyOf('repository', repository))) !== undefined
  }

  /** Notes that a repository has a blob or manifest, deleted before or not. Survives a power cut. */
  async hold(repository: string, digest: Digest, nowMs: number = Date.now()): Promise<void> {
    await this.#database.write(
      [
        { key: keyOf('repository', repository), value: { atMs: nowMs } },
        { key: keyOf('held', digest, repository), value: { atMs: nowMs } },
        { key: keyOf('deleted', repository, digest), value: undefined },
      ],
      { sync: true },
    )
  }

  async isHeld(repository: string, digest: Digest): Promise<boolean> {
    return (await this.#database.get(keyOf('held', digest, repository))) !== undefined
  }

  /** The repositories that a blob or manifest was pushed to, and not deleted in. */
  async repositoriesWith(digest: Digest): Promise<string[]> {
    const repositories: string[] = []
    for await (const [key] of this.#database.entries(rangeOf('held', digest))) {
      const [, repository = ''] = partsOf(key, 2)
      repositories.push(repository)
    }
    return repositories
  }

  /** Notes what was pushed under a tag, deleted before or not. Survives a power cut. */
  async putTag(repository: string, tag: string, digest: Digest): Promise<void> {
    await this.#database.write(
      [
        { key: keyOf('tag', repository, tag), value: digest },
        { key: keyOf('deleted', repository, tag), value: undefined },
      ],
      { sync: true },
    )
  }

  async tag(repository: string, tag: string): Promise<Digest | undefined> {
    const digest = await this.#database.get(keyOf('tag', repository, tag))
    return isDigest(digest) ? digest : undefined
  }

  /** The tags that were pushed, and what under them. */
  async *tags(repository: string): AsyncGenerator<{ tag: string; digest: Digest }> {
    for await (const [key, digest] of this.#database.entries(rangeOf('tag', repository))) {
      const [, tag = ''] = partsOf(key, 2)
      if (isDigest(digest)) yield { tag, digest }
    }
  }

  /** Notes that content was deleted in a repository. Survives a power cut. */
  async deleteContent(repository: string, digest: Digest): Promise<void> {
    await this.#delete(repository, digest, keyOf('held', digest, repository))
  }

  /** Notes that a tag was deleted in a repository. Survives a power cut. */
  async deleteTag(repository: string, tag: string): Promise<void> {
    await this.#delete(repository, tag, keyOf('tag', repository, tag))
  }

  /** When a tag or a digest was deleted in a repository, ms since 1970; undefined where it was not. */
  async deletedAtMs(repository: string, what: string): Promise<number | undefined> {
    return timeOf(await this.#database.get(keyOf('deleted', repository, what)))
  }

  async #delete(repository: string, what: string, key: string): Promise<void> {
    await this.#database.write(
      [
        { key: keyOf('deleted', repository, what), value: { atMs: Date.now() } },
        { key, value: undefined },
      ],
      { sync: true },
    )
    this.#deletions += 1
    if (this.#deletions % DELETIONS_BETWEEN_CHECKS === 0) await this.#forgetOldest()
  }

  async #forgetOldest(): Promise<void> {
    const found: { key: string; atMs: number }[] = []
    for await (const [key, value] of this.#database.entries(rangeOf('deleted'))) {
      found.push({ key, atMs: timeOf(value) ?? 0 })
    }
    const oldest = found.sort((a, b) => b.atMs - a.atMs).slice(MAX_DELETIONS)
    if (oldest.length === 0) return
    await this.#database.write(oldest.map(({ key }) => ({ key, value: undefined })))
  }
}

function timeOf(value: unknown): number | undefined {
  const atMs = asRecord(value)?.['atMs']
  return typeof atMs === 'number' ? atMs : undefined
}
