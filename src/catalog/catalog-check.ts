import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'

import { isOperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { diskError } from '../support/disk-error.ts'
import type { Log } from '../telemetry/log.ts'
import { CatalogDatabase } from './catalog-database.ts'
import { salvage, soundEntries } from './catalog-salvage.ts'
import { CLOSED_KEY, SCHEMA_KEY, SCHEMA_VERSION, TABLES, type Table } from './keys.ts'

/**
 * Tables whose loss matters: what they say keeps blobs from being collected, and names from going back. The large
 * ones are left to the check of every value when it is read.
 */
const CHECKED_TABLES: ReadonlySet<Table> = new Set([
  'image',
  'blob',
  'reference',
  'pin',
  'repository',
  'held',
  'tag',
  'deleted',
])

/** In what state a catalog was found. */
export interface CatalogState {
  /** made anew, with what could be saved of the old one: images are to be rebuilt from the blobs */
  readonly isFresh: boolean
  /** the node before was cut off, so that a loss would not be known */
  readonly wasCutOff: boolean
  /** names the time from this opening to its end */
  readonly session: string
}

/**
 * Opens the database at `path`, looks through it, and makes it anew where anything in it is damaged: LevelDB does
 * not mend itself. A file beside it names the session: entries that went back to an earlier time without a word do
 * not know it.
 * @throws OperationError as {@link CatalogDatabase.open}
 */
export async function openChecked(
  path: string,
  log: Log,
): Promise<{ database: CatalogDatabase; state: CatalogState }> {
  let opened = await CatalogDatabase.open(path, log)
  try {
    const found = await inspect(opened.database, sessionPathOf(path))
    if (found === 'damaged') opened = await opened.database.replace()
    const { database, aside } = opened
    if (aside !== undefined) {
      log.warn({ aside, entries: await salvage(aside, database, log) }, 'catalog is made anew')
    }
    const session = await beginSession(database, sessionPathOf(path))
    const isFresh = found === 'new' || found === 'damaged'
    return { database, state: { isFresh, wasCutOff: found === 'cut off', session } }
  } catch (error) {
    await opened.database.close()
    throw diskError(error, path)
  }
}

/** Writes down how much there is, as the last thing before an orderly end. */
export async function noteOrderlyEnd(database: CatalogDatabase, session: string): Promise<void> {
  const { sound } = await survey(database)
  await database.write([{ key: CLOSED_KEY, value: { entries: sound, session } }], { sync: true })
}

async function inspect(
  database: CatalogDatabase,
  sessionPath: string,
): Promise<'new' | 'sound' | 'cut off' | 'damaged'> {
  try {
    if (await database.isMarkedDamaged()) return 'damaged'
    const schema = await database.get(SCHEMA_KEY)
    const { sound, isDamaged } = await survey(database)
    if (schema === undefined && sound === 0 && !isDamaged) return 'new'
    if (schema !== SCHEMA_VERSION || isDamaged) return 'damaged'
    const end = asRecord(await database.get(CLOSED_KEY))
    if (!end) return 'cut off'
    const isAsLeft = end['entries'] === sound && end['session'] === (await readSession(sessionPath))
    return isAsLeft ? 'sound' : 'damaged'
  } catch (error) {
    if (isOperationError(error, 'CATALOG_UNUSABLE')) return 'damaged'
    throw error
  }
}

async function survey(database: CatalogDatabase): Promise<{ sound: number; isDamaged: boolean }> {
  let sound = 0
  let isDamaged = false
  const tables = TABLES.filter((table) => CHECKED_TABLES.has(table))
  const onDamaged = () => (isDamaged = true)
  for await (const _ of soundEntries(database, tables, onDamaged)) sound += 1
  return { sound, isDamaged }
}

async function beginSession(database: CatalogDatabase, sessionPath: string): Promise<string> {
  const session = randomBytes(8).toString('hex')
  await writeFileAtomically(sessionPath, session)
  const changes = [
    { key: SCHEMA_KEY, value: SCHEMA_VERSION },
    { key: CLOSED_KEY, value: undefined },
  ]
  await database.write(changes, { sync: true })
  return session
}

async function readSession(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

function sessionPathOf(path: string): string {
  return `${path}.session`
}
