import { isOperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import type { Log } from '../telemetry/log.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { CLOSED_KEY, rangeOf, SCHEMA_KEY, type Table } from './keys.ts'

const SCHEMA_VERSION = 1

/**
 * Tables whose loss matters: what they say keeps blobs from being collected, and names from going back. The large
 * ones are left to the check of every value when it is read.
 */
const CHECKED_TABLES = ['image', 'blob', 'reference', 'pin'] as const satisfies readonly Table[]

/** In what state a catalog was found. */
export interface CatalogState {
  /** made anew, or something is known to be lost: images are to be rebuilt from the blobs */
  readonly isFresh: boolean
  /** the node before was cut off, so that a loss would not be known */
  readonly wasCutOff: boolean
}

/**
 * Looks through a catalog that has been opened, and removes what is damaged.
 * @returns undefined where the layout is another one, or the files cannot be read to the end
 * @throws OperationError DISK_FULL, DISK_READ_ONLY, OPEN_FILES_EXHAUSTED: faults that are not of the files
 */
export async function checkCatalog(
  database: CatalogDatabase,
  log: Log,
): Promise<CatalogState | undefined> {
  try {
    const schema = await database.get(SCHEMA_KEY)
    if (schema !== undefined && schema !== SCHEMA_VERSION) return undefined
    const { damaged, sound } = await survey(database)
    const closedWith = asRecord(await database.get(CLOSED_KEY))?.['entries']
    const wasCutOff = schema !== undefined && typeof closedWith !== 'number'
    const isFresh =
      schema === undefined || damaged.length > 0 || (!wasCutOff && closedWith !== sound)
    await beginSession(database, damaged)
    if (isFresh)
      log.info({ entries: sound, damaged: damaged.length }, 'catalog is fresh or lost entries')
    return { isFresh, wasCutOff }
  } catch (error) {
    if (!isOperationError(error, 'CATALOG_UNUSABLE')) throw error
    log.warn({ error: error.message }, 'catalog does not read: it is made anew')
    return undefined
  }
}

/** Writes down how much there is, as the last thing before an orderly end. */
export async function noteOrderlyEnd(database: CatalogDatabase): Promise<void> {
  const { sound } = await survey(database)
  await database.write([{ key: CLOSED_KEY, value: { entries: sound } }], { sync: true })
}

async function survey(database: CatalogDatabase): Promise<{ damaged: string[]; sound: number }> {
  const damaged: string[] = []
  let sound = 0
  for (const table of CHECKED_TABLES) {
    for await (const [key, value] of database.rawEntries(rangeOf(table))) {
      if (value === undefined) damaged.push(key)
      else sound += 1
    }
  }
  return { damaged, sound }
}

async function beginSession(database: CatalogDatabase, damaged: readonly string[]): Promise<void> {
  const pins = rangeOf('pin')
  // the key of a pin says all of it
  const mended = damaged.map((key) => ({ key, value: key.startsWith(pins.gte) ? true : undefined }))
  await database.write(
    [{ key: SCHEMA_KEY, value: SCHEMA_VERSION }, { key: CLOSED_KEY, value: undefined }, ...mended],
    { sync: true },
  )
}
