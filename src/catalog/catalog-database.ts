import { rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { KeyRange } from './keys.ts'
import {
  machineFault,
  openAnew,
  openAside,
  openLevel,
  unusable,
  type CatalogLevel,
} from './level-files.ts'
import { sealValue, unsealValue } from './sealed-value.ts'

/** One entry that is put, or removed where `value` is undefined. */
export interface Change {
  readonly key: string
  readonly value: unknown
}

/** An open database, and where the files are that were damaged. */
export interface OpenedDatabase {
  readonly database: CatalogDatabase
  readonly aside?: string
}

interface EntryRange extends KeyRange {
  readonly reverse?: boolean
  readonly limit?: number
}

// LevelDB writes what is in its memory when it opens: at most its 4 MiB log, and new files.
const REOPEN_BYTES = 16 * 1024 * 1024
// Nothing is ever there: its removal is the least that can be written.
const SYNC_KEY = 'sync'

/**
 * Checked JSON values over LevelDB. Damage never ends the node: a damaged value counts as absent, damage that
 * LevelDB itself reports marks the files, and the next opening makes them anew.
 *
 * A write that fails leaves LevelDB's log torn, and what is written behind the tear may be lost at the next start.
 * So after a failed write LevelDB is opened again, which ends the torn log, before anything more is written.
 */
export class CatalogDatabase {
  readonly #path: string
  readonly #log: Log
  readonly #level: CatalogLevel
  #isTorn = false
  /** something was written that a power cut may still take */
  #isAhead = false
  #isClosed = false
  #reopening: Promise<void> | undefined

  private constructor(path: string, level: CatalogLevel, log: Log) {
    this.#path = path
    this.#level = level
    this.#log = log
  }

  /** @throws OperationError DATA_DIR_IN_USE, DISK_FULL, DISK_READ_ONLY, DATA_DIR_UNUSABLE, CATALOG_UNUSABLE */
  static async open(path: string, log: Log): Promise<OpenedDatabase> {
    const { level, ...rest } = await openLevel(path, log)
    return { database: new CatalogDatabase(path, level, log), ...rest }
  }

  /** Makes the files anew; the old ones are moved aside. Only for an opening that finds them damaged. */
  async replace(): Promise<Required<OpenedDatabase>> {
    await this.close()
    const { level, aside } = await openAnew(this.#path)
    await rm(damageMarkOf(this.#path), { force: true })
    return { database: new CatalogDatabase(this.#path, level, this.#log), aside }
  }

  /** Opens files that were moved aside. @throws whatever LevelDB says */
  static async openAside(path: string, log: Log): Promise<CatalogDatabase> {
    return new CatalogDatabase(path, await openAside(path), log)
  }

  /** Whether LevelDB has reported damage since the files were made. */
  async isMarkedDamaged(): Promise<boolean> {
    return await isThere(damageMarkOf(this.#path))
  }

  /** The value of `key`, or undefined where it is absent or damaged. */
  async get(key: string): Promise<unknown> {
    await this.#ready()
    try {
      // what is wanted is in memory, and a way through the thread pool costs more than to look there
      const sealed: Buffer | undefined = this.#level.getSync(key)
      return sealed && this.#unseal(key, sealed)
    } catch (error) {
      const failure = await this.#onFailure(error)
      if (isCorruption(error)) return undefined
      throw failure
    }
  }

  /** Makes all changes or none. @param options.sync returns when they survive a power cut */
  async write(changes: readonly Change[], { sync = false } = {}): Promise<void> {
    await this.#ready()
    if (this.#isTorn) await this.#reopen()
    if (sync) this.#isAhead = false
    try {
      await this.#level.batch(changes.map(operationOf), { sync })
    } catch (error) {
      this.#isTorn = true
      throw await this.#onFailure(error)
    }
    if (!sync) this.#isAhead = true
  }

  /** Returns when all that was written survives a power cut. */
  async sync(): Promise<void> {
    if (this.#isAhead) await this.write([{ key: SYNC_KEY, value: undefined }], { sync: true })
  }

  /**
   * Entries in the order of their keys, as they were at the first step; damaged ones are left out.
   * @throws OperationError CATALOG_UNUSABLE: the end of the range was not reached
   */
  async *entries(range: EntryRange): AsyncGenerator<[key: string, value: unknown]> {
    for await (const [key, value] of this.rawEntries(range)) {
      if (value !== undefined) yield [key, value]
    }
  }

  /** Like {@link entries}, with undefined as the value of damaged ones. */
  async *rawEntries(range: EntryRange): AsyncGenerator<[key: string, value: unknown]> {
    await this.#ready()
    try {
      for await (const [key, sealed] of this.#level.iterator(range)) {
        yield [key, this.#unseal(key, sealed)]
      }
    } catch (error) {
      throw await this.#onFailure(error)
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#reopening?.catch(() => undefined)
    await this.#level.close()
  }

  async #ready(): Promise<void> {
    if (this.#isClosed) throw new TypeError('the catalog is closed')
    if (this.#reopening || this.#level.status !== 'open') await this.#reopen()
  }

  async #reopen(): Promise<void> {
    this.#reopening ??= this.#openAgain().finally(() => {
      this.#reopening = undefined
    })
    await this.#reopening
  }

  /** Stays open for readers while there is no room to open again. */
  async #openAgain(): Promise<void> {
    const { bavail, bsize } = await statfs(dirname(this.#path))
    if (bavail * bsize < REOPEN_BYTES) {
      const found = `wanted ${REOPEN_BYTES} free bytes, found ${bavail * bsize}`
      throw new OperationError('DISK_FULL', `catalog ${this.#path}: ${found}`)
    }
    try {
      await this.#level.close()
      await this.#level.open()
      this.#isTorn = false
    } catch (error) {
      throw await this.#onFailure(error)
    }
  }

  #unseal(key: string, sealed: Buffer): unknown {
    const value = unsealValue(key, sealed)
    if (value === undefined) this.#log.warn({ key }, 'catalog value is damaged')
    return value
  }

  /** What to throw; damage is marked so that the next opening makes the files anew. */
  async #onFailure(thrown: unknown): Promise<OperationError> {
    const fault = machineFault(thrown, this.#path)
    if (fault) return fault
    this.#log.warn({ path: this.#path, error: messageOf(thrown) }, 'catalog is damaged')
    if (isCorruption(thrown)) {
      await writeFile(damageMarkOf(this.#path), '').catch(() => undefined)
    }
    return unusable(thrown, this.#path)
  }
}

function operationOf({ key, value }: Change) {
  return value === undefined
    ? { type: 'del' as const, key }
    : { type: 'put' as const, key, value: sealValue(key, value) }
}

function isCorruption(thrown: unknown): boolean {
  return thrown instanceof Error && systemCodeOf(thrown) === 'LEVEL_CORRUPTION'
}

function damageMarkOf(path: string): string {
  return `${path}.damaged`
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch {
    return false
  }
}
