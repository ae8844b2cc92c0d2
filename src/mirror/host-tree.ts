import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'

/** A file of an engine as it was found: what it takes to put it back. */
export interface HostFile {
  readonly text: string
  /** permission bits */
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** An entry of a folder. */
export interface HostEntry {
  readonly name: string
  readonly isFolder: boolean
}

const MAX_LINKS = 40
const MAX_FILE_BYTES = 1024 * 1024

/**
 * The files of a host, or of another tree below `root`. Paths are as a process inside sees them: symbolic links
 * are followed as chroot(2) would, so that none leads out.
 */
export class HostTree {
  /** absolute; `/` is this host */
  readonly root: string

  constructor(root = '/') {
    this.root = root
  }

  get isThisHost(): boolean {
    return this.root === '/'
  }

  /**
   * Where a path of the tree really is, its links followed; what does not exist yet is taken by its name.
   * @throws OperationError MIRROR_FILE_INVALID: links in a circle
   */
  async resolve(path: string): Promise<string> {
    const waiting = path.split('/')
    const found: string[] = []
    let links = 0
    for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
      if (part === '' || part === '.') continue
      if (part === '..') {
        found.pop()
        continue
      }
      const target = await linkTarget(join(this.root, ...found, part))
      if (target === undefined) {
        found.push(part)
        continue
      }
      if (++links > MAX_LINKS) throw unreadable(path, 'its symbolic links lead in a circle')
      if (target.startsWith('/')) found.length = 0
      waiting.unshift(...target.split('/'))
    }
    return join(this.root, ...found)
  }

  /**
   * @returns undefined where there is none
   * @throws OperationError MIRROR_FILE_INVALID: no file, too large, not UTF-8, or closed to this user
   */
  async read(path: string): Promise<HostFile | undefined> {
    const real = await this.resolve(path)
    try {
      const about = await stat(real)
      if (!about.isFile()) throw unreadable(path, 'it is no file')
      if (about.size > MAX_FILE_BYTES) throw unreadable(path, `it has ${about.size} bytes`)
      const text = decode(await readFile(real), path)
      return { text, mode: about.mode & 0o7777, uid: about.uid, gid: about.gid }
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw asUnreadable(error, path)
    }
  }

  /** What a folder holds, by name; empty where there is none. */
  async list(path: string): Promise<HostEntry[]> {
    const real = await this.resolve(path)
    try {
      const names = (await readdir(real)).sort()
      return await Promise.all(
        names.map(async (name) => ({
          name,
          isFolder: await this.#isFolder(join(path, name)),
        })),
      )
    } catch (error) {
      if (isAbsent(error)) return []
      throw asUnreadable(error, path)
    }
  }

  /** Whether there is something at one of these paths. */
  async hasAny(paths: readonly string[]): Promise<boolean> {
    for (const path of paths) {
      if (await exists(await this.resolve(path))) return true
    }
    return false
  }

  async #isFolder(path: string): Promise<boolean> {
    const about = await stat(await this.resolve(path)).catch(() => undefined)
    return about?.isDirectory() === true
  }
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  )
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch {
    // no link, or nothing: opening it will tell
    return undefined
  }
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw unreadable(path, 'it is not UTF-8', cause)
  }
}

function isAbsent(error: unknown): boolean {
  return systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ENOTDIR'
}

function asUnreadable(error: unknown, path: string): unknown {
  if (error instanceof OperationError || systemCodeOf(error) === undefined) return error
  return unreadable(path, messageOf(error), error)
}

function unreadable(path: string, why: string, cause?: unknown): OperationError {
  return new OperationError('MIRROR_FILE_INVALID', `${path}: ${why}`, { cause })
}
