/** Changes to the files of a host, made all or none. */
import { chmod, rm, rmdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { makeFolder } from '../support/make-folder.ts'
import type { EngineName } from './engine-plan.ts'
import type { HostFile, HostTree } from './host-tree.ts'

/** A file that is to become another. */
export interface FileChange {
  readonly engine: EngineName
  /** as the engine sees it */
  readonly path: string
  readonly before: HostFile | undefined
  /** undefined: it is to go away */
  readonly after: HostFile | undefined
}

/** A folder that is not there yet. */
export interface NewFolder {
  readonly path: string
  readonly engine: EngineName
}

const FOLDER_MODE = 0o755

/** The folders above these paths that are not there yet, outermost first. */
export async function missingFolders(
  tree: HostTree,
  wanted: readonly NewFolder[],
): Promise<NewFolder[]> {
  const missing = new Map<string, NewFolder>()
  for (const { path, engine } of wanted) {
    for (const above of foldersDownTo(path)) {
      if (!(await isThere(await tree.resolve(above)))) missing.set(above, { path: above, engine })
    }
  }
  return [...missing.values()].sort((one, other) => one.path.length - other.path.length)
}

/**
 * Makes folders and writes files; when one fails, what was done is undone.
 * @throws OperationError MIRROR_FILE_UNWRITABLE: all is as it was before
 */
export async function applyChanges(
  tree: HostTree,
  { folders, changes }: { folders: readonly NewFolder[]; changes: readonly FileChange[] },
): Promise<void> {
  const undo: (() => Promise<unknown>)[] = []
  try {
    for (const { path } of folders) {
      const real = await attempt(path, () => makeOneFolder(tree, path))
      undo.push(() => rmdir(real))
    }
    for (const { path, before, after } of changes) {
      await attempt(path, () => placeFile(tree, path, after))
      undo.push(() => placeFile(tree, path, before))
    }
  } catch (error) {
    for (const step of undo.toReversed()) await step().catch(() => undefined)
    throw error
  }
}

/** Removes the folders that are empty, innermost first. @returns those that are not */
export async function removeFolders(
  tree: HostTree,
  folders: readonly NewFolder[],
): Promise<{ removed: string[]; kept: string[] }> {
  const removed: string[] = []
  const kept: string[] = []
  for (const { path } of folders.toReversed()) {
    const real = await tree.resolve(path)
    const isGone = await rmdir(real).then(
      () => true,
      (error: unknown) => systemCodeOf(error) === 'ENOENT',
    )
    if (isGone) removed.push(path)
    else kept.push(path)
  }
  return { removed, kept }
}

/** Writes a file, or removes it. Through symbolic links: the link stays, its target changes. */
export async function placeFile(
  tree: HostTree,
  path: string,
  file: HostFile | undefined,
): Promise<void> {
  const real = await tree.resolve(path)
  if (!file) return await rm(real, { force: true })
  const { text, mode, uid, gid } = file
  await writeFileAtomically(real, text, { mode, owner: { uid, gid } })
}

async function makeOneFolder(tree: HostTree, path: string): Promise<string> {
  const real = await tree.resolve(path)
  await makeFolder(real, { mode: FOLDER_MODE })
  // Podman of any user reads these: the umask of whoever installs must not close them
  await chmod(real, FOLDER_MODE)
  return real
}

async function attempt<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof OperationError) throw cause
    const found = systemCodeOf(cause) ?? messageOf(cause)
    throw new OperationError(
      'MIRROR_FILE_UNWRITABLE',
      `${path}: wanted to write it, found ${found}`,
      {
        cause,
      },
    )
  }
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

function foldersDownTo(path: string): string[] {
  return path === '/' || path === '.' ? [] : [...foldersDownTo(dirname(path)), path]
}
