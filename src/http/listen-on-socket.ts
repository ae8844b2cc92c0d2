import { lstat, rm } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { connect } from 'node:net'

import { OperationError, systemCodeOf } from '../errors.ts'
import { DrainableServer, type ServerOptions } from './drainable-server.ts'
import { asHttpServer, type HttpServer } from './listen.ts'

// unix(7): sun_path holds 108 bytes with its closing zero on Linux, 104 on macOS.
const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103
const PROBE_TIMEOUT_MS = 2000

/**
 * Answers HTTP on a unix socket that only this user may open (mode 0600). The file that a dead node left
 * behind is replaced; one on which somebody answers is not.
 * @throws OperationError DATA_DIR_IN_USE: somebody answers there; ADDRESS_UNUSABLE: another kind of file, no
 * such folder, a path longer than a socket takes
 */
export async function listenOnSocket(
  listener: RequestListener,
  path: string,
  options: ServerOptions = {},
): Promise<HttpServer> {
  const pathBytes = Buffer.byteLength(path)
  if (pathBytes > MAX_PATH_BYTES) {
    throw unusable(path, `wanted a path of at most ${MAX_PATH_BYTES} bytes, found ${pathBytes}`)
  }
  await removeStaleSocket(path)
  const server = new DrainableServer(listener, options)
  try {
    await bindForOwner(server, path)
  } catch (cause) {
    throw unusable(path, `found ${systemCodeOf(cause) ?? String(cause)}`, cause)
  }
  return asHttpServer([server], [path])
}

/** Under a narrow umask, so that there is no moment in which another user could open the socket. */
function bindForOwner(server: DrainableServer, path: string): Promise<unknown> {
  const previous = process.umask(0o177)
  try {
    return server.start({ path })
  } finally {
    process.umask(previous)
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  const entry = await lstat(path).catch(() => undefined)
  if (!entry) return
  if (!entry.isSocket()) throw unusable(path, 'found another kind of file there')
  if (await isAnswered(path)) {
    throw new OperationError('DATA_DIR_IN_USE', `socket ${path}: another node answers there`)
  }
  await rm(path, { force: true })
}

async function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const probe = connect({ path, timeout: PROBE_TIMEOUT_MS })
  probe.once('connect', () => resolve(true))
  // A node too busy to take the connection is alive all the same.
  probe.once('timeout', () => resolve(true))
  probe.once('error', (error) => resolve(systemCodeOf(error) === 'EAGAIN'))
  try {
    return await promise
  } finally {
    probe.destroy()
  }
}

function unusable(path: string, found: string, cause?: unknown): OperationError {
  return new OperationError('ADDRESS_UNUSABLE', `socket ${path}: ${found}`, { cause })
}
