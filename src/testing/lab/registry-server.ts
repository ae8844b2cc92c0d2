/** A real registry (docker-registry 2.8 of Debian 12) as the upstream of a test, over plain HTTP. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'

/** Where the registry listens. */
export interface RegistryServerOptions {
  /** The host it runs in; the machine's own network by default. */
  host?: NetworkHost
  /** `address:port`; the default is port 5000 of the host's address, or of 127.0.0.1. */
  listen?: string
}

/** A running registry. Disposing stops it and removes what it holds. */
export interface RegistryServer extends AsyncDisposable {
  /** `address:port` */
  readonly address: string
  /** One line per request, in Apache's format, is part of it. */
  readonly log: string
  /** The folder of its blobs: `<path>/blobs/sha256/<2 hex>/<hex>/data`. */
  readonly storage: string
  stop(): Promise<void>
}

/** Starts an empty registry. */
export async function startRegistryServer(
  options: RegistryServerOptions = {},
): Promise<RegistryServer> {
  await sweepLabDirectories()
  const directory = await openLabDirectory('registry')
  const address = options.listen ?? `${options.host?.address ?? '127.0.0.1'}:5000`
  const config = join(directory.path, 'config.yml')
  mkdirSync(join(directory.path, 'storage'))
  writeFileSync(config, configYml(address, join(directory.path, 'storage')))
  const child = new Child('docker-registry', ['serve', config], {
    env: { ...LAB_ENVIRONMENT },
    prefix: options.host?.prefix ?? [],
  })
  const dispose = async (): Promise<void> => {
    await child[Symbol.asyncDispose]()
    await directory[Symbol.asyncDispose]()
  }
  try {
    await child.waitForLine(/listening on /)
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    address,
    get log() {
      return child.stdout + child.stderr
    },
    storage: join(directory.path, 'storage/docker/registry/v2'),
    stop: async () => {
      await child.stop()
    },
    [Symbol.asyncDispose]: dispose,
  }
}

function configYml(address: string, storage: string): string {
  return `version: 0.1
log: { level: info, accesslog: { disabled: false } }
storage: { filesystem: { rootdirectory: ${storage} }, delete: { enabled: true } }
http: { addr: '${address}' }
`
}
