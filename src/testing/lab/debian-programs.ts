/** The programs of Debian's packages, whatever else a machine has in /usr/local. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** PATH with Debian's own programs only. */
export const DEBIAN_PATH = FOLDERS.join(':')

/** Whether Debian's packages on this machine hold all these programs. */
export function hasPrograms(...names: string[]): boolean {
  return names.every((name) => FOLDERS.some((folder) => existsSync(join(folder, name))))
}
