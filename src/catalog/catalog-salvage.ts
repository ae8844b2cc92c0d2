import { isOperationError, messageOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { CatalogDatabase, type Change } from './catalog-database.ts'
import { keyOf, partsOf, rangeOf, SCHEMA_KEY, SCHEMA_VERSION, TABLES, type Table } from './keys.ts'

const BATCH_ENTRIES = 500

/**
 * The entries of `tables` that can be believed. A blob below an image that is not there is none of them: it only
 * shows that an image was lost. So `image` comes before `blob`.
 */
export async function* soundEntries(
  database: CatalogDatabase,
  tables: readonly Table[],
  onDamaged: () => void = () => {},
): AsyncGenerator<Change> {
  const images = new Set<string>()
  for (const table of tables) {
    for await (const [key, value] of database.rawEntries(rangeOf(table))) {
      const isSound = value !== undefined && (table !== 'blob' || images.has(imageOfBlobKey(key)))
      if (table === 'image' && isSound) images.add(key)
      if (!isSound) onDamaged()
      // the key of a pin says all of it, and one pin too many does no harm
      if (isSound || table === 'pin') yield { key, value: value ?? true }
    }
  }
}

/**
 * Copies what can still be read of files that were moved aside.
 * @returns how many entries that were
 * @throws OperationError DISK_FULL and other faults of writing
 */
export async function salvage(aside: string, into: CatalogDatabase, log: Log): Promise<number> {
  let from: CatalogDatabase
  try {
    from = await CatalogDatabase.openAside(aside, log)
  } catch {
    return 0
  }
  try {
    const schema = await from.get(SCHEMA_KEY)
    return schema === undefined || schema === SCHEMA_VERSION ? await copyTables(from, into, log) : 0
  } finally {
    await from.close()
  }
}

async function copyTables(from: CatalogDatabase, into: CatalogDatabase, log: Log): Promise<number> {
  let copied = 0
  // each for itself, so that one which does not read to its end does not take those behind it along
  for (const tables of [['image', 'blob'], ...TABLES.filter(isAlone).map((table) => [table])]) {
    try {
      copied += await copy(soundEntries(from, tables as Table[]), into)
    } catch (error) {
      if (!isOperationError(error, 'CATALOG_UNUSABLE')) throw error
      log.debug({ tables, error: messageOf(error) }, 'a part of the catalog does not read')
    }
  }
  return copied
}

async function copy(entries: AsyncIterable<Change>, into: CatalogDatabase): Promise<number> {
  let copied = 0
  let batch: Change[] = []
  try {
    for await (const entry of entries) {
      batch.push(entry)
      if (batch.length < BATCH_ENTRIES) continue
      await into.write(batch)
      copied += batch.length
      batch = []
    }
  } finally {
    await into.write(batch)
  }
  return copied + batch.length
}

function isAlone(table: Table): boolean {
  return table !== 'image' && table !== 'blob'
}

function imageOfBlobKey(key: string): string {
  const [, image = ''] = partsOf(key, 2)
  return keyOf('image', image)
}
