import { readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Level } from 'level'

import { messageOf, OperationError, systemCodeOf, type ErrorCode } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'

export type CatalogLevel = Level<string, Buffer>

// A node that was killed may hold the lock until the kernel has cleaned up behind it.
const LOCK_WAIT_MS = 2000
const LOCK_RETRY_MS = 50

/** Faults of the machine, not of the files: nothing is gained by making the catalog anew. */
const MACHINE_FAULTS: readonly (readonly [RegExp, ErrorCode])[] = [
  [/No space left|quota exceeded|ENOSPC|EDQUOT/i, 'DISK_FULL'],
  [/Read-only file system|EROFS/i, 'DISK_READ_ONLY'],
  [/Permission denied|Operation not permitted|EACCES|EPERM|ENOTDIR/i, 'DATA_DIR_UNUSABLE'],
  [/Too many open files|EMFILE|ENFILE/i, 'OPEN_FILES_EXHAUSTED'],
]

/**
 * Opens LevelDB at `path`. Files that it cannot open are moved aside, and it begins with none.
 * @throws OperationError DATA_DIR_IN_USE, DISK_FULL, DISK_READ_ONLY, DATA_DIR_UNUSABLE, OPEN_FILES_EXHAUSTED,
 * CATALOG_UNUSABLE
 */
export async function openLevel(path: string, log: Log): Promise<CatalogLevel> {
  try {
    return await openUnlocked(path)
  } catch (error) {
    const fault = machineFault(error, path)
    if (fault) throw fault
    log.warn({ path, error: deepestMessage(error) }, 'catalog does not open: it is made anew')
  }
  return await openAnew(path)
}

/** Moves the files at `path` aside and opens an empty LevelDB there. */
export async function openAnew(path: string): Promise<CatalogLevel> {
  try {
    await moveAside(path)
    return await openUnlocked(path)
  } catch (error) {
    throw machineFault(error, path) ?? unusable(error, path)
  }
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
  const level: CatalogLevel = new Level(path, { keyEncoding: 'utf8', valueEncoding: 'buffer' })
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

/** Keeps the files for whoever wants to know what happened, and only the newest of such. */
async function moveAside(path: string): Promise<void> {
  const prefix = `${basename(path)}.damaged-`
  for (const name of await readdir(dirname(path))) {
    if (name.startsWith(prefix)) await rm(join(dirname(path), name), { recursive: true })
  }
  try {
    await rename(path, join(dirname(path), `${prefix}${Date.now()}`))
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
  }
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
