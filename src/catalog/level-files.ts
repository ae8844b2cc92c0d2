import { readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Level } from 'level'

import { messageOf, OperationError, systemCodeOf, type ErrorCode } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { findUnsoundTables, removeUnsoundTables } from './table-check.ts'

export type CatalogLevel = Level<string, Buffer>

// A node that was killed may hold the lock until the kernel has cleaned up behind it.
const LOCK_WAIT_MS = 2000
const LOCK_RETRY_MS = 50

// Without compression the tables can be proven before LevelDB reads them.
const LEVEL_OPTIONS = { keyEncoding: 'utf8', valueEncoding: 'buffer', compression: false } as const

/** Faults of the machine, not of the files: nothing is gained by making the catalog anew. */
const MACHINE_FAULTS: readonly (readonly [RegExp, ErrorCode])[] = [
  [/No space left|quota exceeded|ENOSPC|EDQUOT/i, 'DISK_FULL'],
  [/Read-only file system|EROFS/i, 'DISK_READ_ONLY'],
  [/Permission denied|Operation not permitted|EACCES|EPERM|ENOTDIR/i, 'DATA_DIR_UNUSABLE'],
  [/Too many open files|EMFILE|ENFILE/i, 'OPEN_FILES_EXHAUSTED'],
]

/** An open LevelDB, and where the files are that it could not be made of. */
export interface OpenedLevel {
  readonly level: CatalogLevel
  readonly aside?: string
}

/**
 * Opens LevelDB at `path`. Files that are not sound are moved aside, and it begins with none.
 * @throws OperationError DATA_DIR_IN_USE, DISK_FULL, DISK_READ_ONLY, DATA_DIR_UNUSABLE, OPEN_FILES_EXHAUSTED,
 * CATALOG_UNUSABLE
 */
export async function openLevel(path: string, log: Log): Promise<OpenedLevel> {
  try {
    const unsound = await findUnsoundTables(path)
    if (unsound.length === 0) return { level: await openUnlocked(path) }
    log.warn({ path, files: unsound }, 'catalog files are damaged')
  } catch (error) {
    const fault = machineFault(error, path)
    if (fault) throw fault
    log.warn({ path, error: deepestMessage(error) }, 'catalog does not open')
  }
  return await openAnew(path)
}

/**
 * Moves the files at `path` aside and opens an empty LevelDB there.
 * @returns with it, where the old files are now
 */
export async function openAnew(path: string): Promise<Required<OpenedLevel>> {
  try {
    const aside = await moveAside(path)
    return { level: await openUnlocked(path), aside }
  } catch (error) {
    throw machineFault(error, path) ?? unusable(error, path)
  }
}

/**
 * Opens files that were moved aside, for what can still be read.
 * @throws whatever LevelDB says
 */
export async function openAside(path: string): Promise<CatalogLevel> {
  await removeUnsoundTables(path)
  const level: CatalogLevel = new Level(path, { ...LEVEL_OPTIONS, createIfMissing: false })
  try {
    await level.open()
  } catch {
    await repair(path)
    await level.open()
  }
  return level
}

/** What a person can do about a failed catalog operation, where the machine is to blame. */
export function machineFault(thrown: unknown, path: string): OperationError | undefined {
  if (thrown instanceof OperationError) return thrown
  const text = deepestMessage(thrown)
  const [, code] = MACHINE_FAULTS.find(([pattern]) => pattern.test(text)) ?? []
  return code && new OperationError(code, `catalog ${path}: ${text}`, { cause: thrown })
}

/** The error of a catalog whose files are damaged. */
export function unusable(thrown: unknown, path: string): OperationError {
  const text = `catalog ${path}: ${deepestMessage(thrown)}`
  return new OperationError('CATALOG_UNUSABLE', text, { cause: thrown })
}

async function openUnlocked(path: string): Promise<CatalogLevel> {
  const givenUpAt = performance.now() + LOCK_WAIT_MS
  const level: CatalogLevel = new Level(path, LEVEL_OPTIONS)
  for (;;) {
    try {
      await level.open()
      return level
    } catch (error) {
      if (!isLocked(error)) throw error
      if (performance.now() >= givenUpAt) throw inUse(error, path)
    }
    await delay(LOCK_RETRY_MS)
  }
}

/** Makes a new manifest for the tables and logs that are left. Only classic-level has it, which `level` is on Node. */
async function repair(path: string): Promise<void> {
  await (Level as unknown as { repair(path: string): Promise<void> }).repair(path)
}

/** Keeps the files for whoever wants to know what happened, and only the newest of such. */
async function moveAside(path: string): Promise<string> {
  const prefix = `${basename(path)}.damaged-`
  for (const name of await readdir(dirname(path))) {
    if (name.startsWith(prefix)) await rm(join(dirname(path), name), { recursive: true })
  }
  const aside = join(dirname(path), `${prefix}${Date.now()}`)
  try {
    await rename(path, aside)
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
  }
  return aside
}

function isLocked(thrown: unknown): boolean {
  return thrown instanceof Error && systemCodeOf(thrown.cause ?? thrown) === 'LEVEL_LOCKED'
}

function inUse(cause: unknown, path: string): OperationError {
  return new OperationError('DATA_DIR_IN_USE', `catalog ${path}: another node has it open`, {
    cause,
  })
}

/** LevelDB's own words lie below one or more wrappers. */
function deepestMessage(thrown: unknown): string {
  return thrown instanceof Error && thrown.cause !== undefined
    ? deepestMessage(thrown.cause)
    : messageOf(thrown)
}
