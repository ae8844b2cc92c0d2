import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { OperationError, systemCodeOf } from '../errors.ts'

const SOCKET_NAME = 'control.sock'
// sockaddr_un.sun_path: 108 bytes on Linux, 104 on macOS and the BSDs, the final zero included
const MAX_SOCKET_PATH_BYTES = 103

/** A path that fits into a socket address, for as long as it is not disposed of. */
export interface SocketPath extends AsyncDisposable {
  readonly path: string
}

/** Where the node of this data directory listens. */
export function controlSocketPath(dataDir: string): string {
  return join(dataDir, SOCKET_NAME)
}

/**
 * The control socket by a name that fits: a socket address holds about a hundred bytes, a data directory may be
 * deeper. Linux then reaches it by the descriptor of the opened directory.
 * @throws OperationError DATA_DIR_UNUSABLE: too long for this system; a system error where the directory is not there
 */
export async function openSocketPath(dataDir: string): Promise<SocketPath> {
  const path = controlSocketPath(dataDir)
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return { path, ...owning(undefined) }
  if (process.platform !== 'linux') {
    throw new OperationError(
      'DATA_DIR_UNUSABLE',
      `${path}: wanted a path of at most ${MAX_SOCKET_PATH_BYTES} bytes, found ${Buffer.byteLength(path)}`,
    )
  }
  const directory = await open(dataDir, 'r')
  return { path: `/proc/self/fd/${directory.fd}/${SOCKET_NAME}`, ...owning(directory) }
}

/** Whether an error of connecting says that nobody listens. */
export function isNobodyListening(error: unknown): boolean {
  const code = systemCodeOf(error)
  return code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR' || code === 'ENOTSOCK'
}

function owning(directory: FileHandle | undefined): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => {
      await directory?.close()
    },
  }
}
