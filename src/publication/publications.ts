import { lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { parseImageRecord, type ImageRecord } from '../catalog/image-records.ts'
import { parseKeptRecord } from '../catalog/reference-files.ts'
import { messageOf, systemCodeOf } from '../errors.ts'
import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { asRecord } from '../oci/descriptor.ts'
import { hexOf, isDigest, type Digest } from '../oci/digest.ts'
import { syncDirectory, writeFileAtomically } from '../support/atomic-file.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { diskError } from '../support/disk-error.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import { silentLog, type Log } from '../telemetry/log.ts'

/** An image that its owner gave to everybody, and exactly what of it. */
export interface Publication {
  /** of the manifest or image index that was named */
  readonly digest: Digest
  /** somebody said that it is theirs to share: no registry was asked, and a mark of private content does not count */
  readonly isOwn: boolean
  readonly publishedAtMs: number
  /** `registry/repository` that gave all of it to everybody; left out where nobody was asked */
  readonly source?: string
  /** when that was so, ms */
  readonly checkedAtMs: number
  /** it, and the manifests below it that were here */
  readonly images: readonly ImageRecord[]
  /** configs and layers that were here; what comes later is not among them */
  readonly blobs: readonly Digest[]
  /** canonical names under which strangers find it */
  readonly names: readonly string[]
  /** what this node signed of these names, as it is known in the public swarm */
  readonly records: readonly SignedReferenceRecord[]
}

const SUFFIX = '.json'
const MAX_FILE_BYTES = 16 * 1024 * 1024
const READ_CONCURRENCY = 16

/**
 * What this node shares in the public swarm: one file for each image, `<hex>.json`, and not LevelDB. Only what a file
 * says is public: where files get lost or damaged, less is shared, never more.
 */
export class Publications {
  readonly #path: string
  readonly #byDigest: Map<Digest, Publication>
  readonly #holding = new Map<Digest, Set<Digest>>()
  readonly #writing = new KeyedLock()

  private constructor(path: string, publications: readonly Publication[]) {
    this.#path = path
    this.#byDigest = new Map(publications.map((each) => [each.digest, each]))
    for (const publication of publications) this.#index(publication)
  }

  /** Reads what there is; makes nothing. Where the folder cannot be read, nothing is public. */
  static async open(path: string, { log = silentLog }: { log?: Log } = {}): Promise<Publications> {
    const read = await mapConcurrently(await namesIn(path, log), READ_CONCURRENCY, (name) =>
      readPublication(path, name, log),
    )
    return new Publications(
      path,
      read.filter((publication) => publication !== undefined),
    )
  }

  get isEmpty(): boolean {
    return this.#byDigest.size === 0
  }

  all(): readonly Publication[] {
    return [...this.#byDigest.values()]
  }

  get(digest: Digest): Publication | undefined {
    return this.#byDigest.get(digest)
  }

  /** Those that a manifest or blob is part of. */
  holding(digest: Digest): readonly Publication[] {
    return [...(this.#holding.get(digest) ?? [])].flatMap((root) => this.#byDigest.get(root) ?? [])
  }

  /** Keeps or replaces one. Survives a power cut. @throws OperationError DISK_FULL, DISK_READ_ONLY, DISK_FAULTY */
  async put(publication: Publication): Promise<void> {
    await this.#writing.run(publication.digest, () => this.#write(publication))
  }

  /** Changes one that is there; one that was removed meanwhile stays so. @throws as {@link put} */
  async update(digest: Digest, change: (before: Publication) => Publication): Promise<boolean> {
    return await this.#writing.run(digest, async () => {
      const before = this.#byDigest.get(digest)
      if (!before) return false
      await this.#write(change(before))
      return true
    })
  }

  /** From now on it is not public, after a power cut too. @throws OperationError DISK_READ_ONLY, DISK_FAULTY */
  async remove(digest: Digest): Promise<void> {
    await this.#writing.run(digest, async () => {
      if (!this.#byDigest.has(digest)) return
      this.#forget(digest)
      try {
        await rm(this.#fileOf(digest), { force: true })
        await syncDirectory(this.#path)
      } catch (error) {
        throw diskError(error, `publication of ${digest}`)
      }
    })
  }

  async #write(publication: Publication): Promise<void> {
    try {
      await mkdir(this.#path, { recursive: true, mode: 0o700 })
      await writeFileAtomically(this.#fileOf(publication.digest), JSON.stringify(publication), {
        mode: 0o600,
      })
    } catch (error) {
      throw diskError(error, `publication of ${publication.digest}`)
    }
    this.#forget(publication.digest)
    this.#byDigest.set(publication.digest, publication)
    this.#index(publication)
  }

  #index(publication: Publication): void {
    for (const part of partsOf(publication)) {
      const roots = this.#holding.get(part) ?? new Set()
      this.#holding.set(part, roots.add(publication.digest))
    }
  }

  #forget(digest: Digest): void {
    const publication = this.#byDigest.get(digest)
    if (!publication) return
    this.#byDigest.delete(digest)
    for (const part of partsOf(publication)) {
      const roots = this.#holding.get(part)
      roots?.delete(digest)
      if (roots?.size === 0) this.#holding.delete(part)
    }
  }

  #fileOf(digest: Digest): string {
    return join(this.#path, `${hexOf(digest)}${SUFFIX}`)
  }
}

/** Everything of it that strangers may have, each once. */
export function partsOf({ images, blobs }: Publication): Set<Digest> {
  return new Set([...images.map(({ digest }) => digest), ...blobs])
}

async function namesIn(path: string, log: Log): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT')
      log.error({ path, error: messageOf(error) }, 'publications cannot be read: nothing is shared')
    return []
  }
}

async function readPublication(
  folder: string,
  name: string,
  log: Log,
): Promise<Publication | undefined> {
  const path = join(folder, name)
  if (!name.endsWith(SUFFIX)) {
    // what a crash left of a file that was being written
    await rm(path, { recursive: true, force: true }).catch(() => undefined)
    return undefined
  }
  try {
    const found = await lstat(path)
    if (!found.isFile() || found.size > MAX_FILE_BYTES) throw new TypeError('it is no publication')
    const publication = parsePublication(JSON.parse(await readFile(path, 'utf8')))
    if (name !== `${hexOf(publication.digest)}${SUFFIX}`) throw new TypeError('it has another name')
    return publication
  } catch (error) {
    log.warn({ path, error: messageOf(error) }, 'a publication is damaged: nothing of it is shared')
    return undefined
  }
}

function parsePublication(value: unknown): Publication {
  const fields = asRecord(value) ?? {}
  const { digest, isOwn, publishedAtMs, checkedAtMs, source } = fields
  const { images, blobs, names, records } = fields
  if (!isDigest(digest) || typeof isOwn !== 'boolean' || typeof publishedAtMs !== 'number')
    throw new TypeError('a field is missing')
  if (!isOwn && typeof source !== 'string') throw new TypeError('nobody says that it is free')
  return {
    digest,
    isOwn,
    publishedAtMs,
    ...(typeof source === 'string' && { source }),
    checkedAtMs: typeof checkedAtMs === 'number' ? checkedAtMs : 0,
    images: listOf(images, parseImageRecord),
    blobs: listOf(blobs, (blob) => (isDigest(blob) ? blob : undefined)),
    names: listOf(names, (name) => (typeof name === 'string' ? name : undefined)),
    records: listOf(records, parseKeptRecord),
  }
}

/** A list of which every entry is sound. */
function listOf<Entry>(value: unknown, parse: (entry: unknown) => Entry | undefined): Entry[] {
  if (!Array.isArray(value)) throw new TypeError('a list is missing')
  return value.map((each: unknown) => {
    const entry = parse(each)
    if (entry === undefined) throw new TypeError('an entry is not sound')
    return entry
  })
}
