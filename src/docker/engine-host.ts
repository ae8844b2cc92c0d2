import { homedir } from 'node:os'
import { join } from 'node:path'

import { OperationError } from '../errors.ts'

/** Where an engine listens. */
export type EngineHost =
  { readonly socketPath: string } | { readonly hostname: string; readonly port: number }

const DEFAULT_PORT = 2375

/**
 * Reads what DOCKER_HOST may hold: `unix:///path`, `tcp://host:port`, `npipe:////./pipe/name`.
 * @throws OperationError CONFIG_INVALID
 */
export function parseEngineHost(text: string): EngineHost {
  const socketPath = /^(?:unix|npipe):\/\/(.+)$/.exec(text)?.[1]
  if (socketPath !== undefined) return { socketPath }
  // Under the name of http a port of 80 would be lost.
  const url = URL.parse(text.replace(/^https?:/, 'tcp:'))
  if (url?.protocol !== 'tcp:' || url.hostname === '') {
    const wanted = 'unix:///path/to/docker.sock or tcp://host:port'
    throw new OperationError('CONFIG_INVALID', `docker host: wanted ${wanted}, found "${text}"`)
  }
  const port = url.port === '' ? DEFAULT_PORT : Number(url.port)
  return { hostname: url.hostname.replace(/^\[|\]$/g, ''), port }
}

/** `unix:///run/docker.sock`, for messages. */
export function formatEngineHost(host: EngineHost): string {
  if ('socketPath' in host) return `unix://${host.socketPath}`
  const { hostname, port } = host
  return `tcp://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`
}

/** Where engines usually listen: the system's, a rootless one, Docker Desktop's. */
export function usualEngineHosts(platform: NodeJS.Platform = process.platform): EngineHost[] {
  if (platform === 'win32') return [{ socketPath: '//./pipe/docker_engine' }]
  const uid = process.getuid?.()
  const rootless = uid === undefined || uid === 0 ? [] : [`/run/user/${uid}/docker.sock`]
  const desktop = ['.docker/run/docker.sock', '.docker/desktop/docker.sock']
  return ['/var/run/docker.sock', ...rootless, ...desktop.map((path) => join(homedir(), path))].map(
    (socketPath) => ({ socketPath }),
  )
}
