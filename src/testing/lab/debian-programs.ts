/** The programs of Debian's packages, whatever else a machine has in /usr/local. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

// The discard port: nobody listens there.
const CLOSED_PORT = 'http://127.0.0.1:9'
const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** PATH with Debian's own programs only. */
export const DEBIAN_PATH = FOLDERS.join(':')

/**
 * Environment of every engine and client of the lab. Go programs reach loopback and the hosts of the
 * lab, and nothing else: `docker run` of an image that is not there would ask the public registry.
 */
export const LAB_ENVIRONMENT = {
  PATH: DEBIAN_PATH,
  HTTP_PROXY: CLOSED_PORT,
  HTTPS_PROXY: CLOSED_PORT,
  NO_PROXY: 'localhost,127.0.0.0/8,::1,10.77.0.0/16',
} as const

/** Whether Debian's packages on this machine hold all these programs. */
export function hasPrograms(...names: string[]): boolean {
  return names.every((name) => FOLDERS.some((folder) => existsSync(join(folder, name))))
}
