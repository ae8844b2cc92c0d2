/** What else may stand between Docker and a registry: the measure of what a node can be. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { Child } from '../src/testing/lab/child.ts'
import { LAB_ENVIRONMENT } from '../src/testing/lab/debian-programs.ts'
import type { NetworkHost } from '../src/testing/lab/network.ts'

/** A program in front of a registry; disposing ends it. */
export interface InBetween extends AsyncDisposable {
  /** `127.0.0.1:port`, in the network of its host */
  readonly address: string
}

interface InBetweenOptions {
  readonly host: NetworkHost
  /** `address:port` of the registry */
  readonly registry: string
  readonly folder: string
}

const FORWARDERS = { once: '127.0.0.1:5301', twice: '127.0.0.1:5303' }
const HASHES = { once: ['sha256'], twice: ['sha256', 'sha1'] }
const CACHE = '127.0.0.1:5302'

/**
 * Passes connections on, and hashes and writes what it passes (`forwarder.ts`): the proof of a blob takes one hash,
 * its torrent another.
 */
export async function openForwarder(
  hashes: keyof typeof HASHES,
  { host, registry, folder }: InBetweenOptions,
): Promise<InBetween> {
  const address = FORWARDERS[hashes]
  const program = join(import.meta.dirname, 'forwarder.ts')
  const args = [program, address, registry, folder, ...HASHES[hashes]]
  const child = new Child(process.execPath, args, { prefix: host.prefix })
  await child.waitForLine(/^ready$/)
  return { address, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() }
}

/** docker-registry 2.8 as a pull-through cache. */
export async function openPullThroughCache(options: InBetweenOptions): Promise<InBetween> {
  const { host, registry, folder } = options
  const rootdirectory = join(folder, 'cache')
  await mkdir(rootdirectory)
  const config = {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory } },
    http: { addr: CACHE, secret: 'bench' },
    proxy: { remoteurl: `http://${registry}` },
  }
  // JSON is YAML
  await writeFile(join(folder, 'cache.yml'), JSON.stringify(config))
  const child = new Child('docker-registry', ['serve', join(folder, 'cache.yml')], {
    env: { ...LAB_ENVIRONMENT },
    prefix: host.prefix,
  })
  await child.waitForLine(/listening on /)
  return { address: CACHE, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() }
}
