import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'

import { systemCodeOf } from '../errors.ts'

/**
 * Makes a folder and those above it. Node's own `recursive` never comes back where a file system says ENOENT
 * for a folder whose parent is there, as /proc does.
 * @throws the system's error
 */
export async function makeFolder(path: string, { mode }: { mode?: number } = {}): Promise<void> {
  try {
    await mkdir(path, mode)
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return
    if (systemCodeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await makeFolder(dirname(path), { ...(mode !== undefined && { mode }) })
    await mkdir(path, mode)
  }
}
