/** A real registry (docker-registry 2.8 of Debian 12) as the upstream of a test. */
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Child } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { LabDirectory } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'
import { parseAccessLog } from './registry-access-log.ts'
import type { RegistryRequest } from './registry-access-log.ts'
import type { KeyPair } from './test-authority.ts'

/** The one account that a registry with Basic authentication knows. */
export const BASIC_ACCOUNT = { username: 'lab-user', password: 'lab-password' } as const

// bcrypt of BASIC_ACCOUNT.password, the only kind that docker-registry reads.
const HTPASSWD = '$2y$05$ddockerlabddockerlabdOZDFVkHRwRS5srjY0i9vgkRrmTF5M/Rm'

/** Who may ask: everybody, the one account, or whoever has a token of a token server. */
export type RegistryAuthentication =
  | { readonly kind: 'basic' }
  | {
      readonly kind: 'bearer'
      /** URL of the token server. */
      readonly realm: string
      readonly service: string
      readonly issuer: string
      /** PEM; tokens are signed by its key. */
      readonly certificate: string
    }

/** Where the registry listens, and to whom it answers. */
export interface RegistryServerOptions {
  /** The host it runs in; the machine's own network by default. */
  host?: NetworkHost
  /**
   * `address:port`; the default is port 5000 of the host's address, and without a host a free port
   * of 127.0.0.1.
   */
  listen?: string
  /** Plain HTTP by default. */
  tls?: KeyPair
  /** Nobody is asked who he is by default. */
  authentication?: RegistryAuthentication
}

/** A running registry. Disposing stops it and removes what it holds. */
export interface RegistryServer extends AsyncDisposable {
  /** `address:port` */
  readonly address: string
  /** Of all starts; one line per request, in Apache's format, is part of it. */
  readonly log: string
  /** The folder of its blobs: `<path>/blobs/sha256/<2 hex>/<hex>/data`. */
  readonly storage: string
  /** Every request that it has answered, oldest first. */
  requests(): RegistryRequest[]
  readonly isRunning: boolean
  /** Waits until `probe` gives something; it is asked again after each output of the registry. */
  waitFor<T>(probe: () => T | undefined, what: string): Promise<T>
  stop(): Promise<void>
  /** Starts it again with the same address and content. */
  restart(): Promise<void>
}

/** Starts an empty registry. */
export async function startRegistryServer(
  options: RegistryServerOptions = {},
): Promise<RegistryServer> {
  await sweepLabDirectories()
  const directory = await openLabDirectory('registry')
  const listen = options.listen ?? (await defaultAddress(options.host))
  const registry = new LabRegistry(directory, listen, options)
  try {
    await registry.restart()
    return registry
  } catch (error) {
    await registry[Symbol.asyncDispose]()
    throw error
  }
}

class LabRegistry implements RegistryServer {
  readonly address: string
  readonly storage: string
  readonly #directory: LabDirectory
  readonly #prefix: readonly string[]
  #child: Child | undefined
  #earlier = ''

  constructor(directory: LabDirectory, address: string, options: RegistryServerOptions) {
    this.address = address
    this.#directory = directory
    this.#prefix = options.host?.prefix ?? []
    this.storage = join(directory.path, 'storage/docker/registry/v2')
    mkdirSync(join(directory.path, 'storage'))
    writeFileSync(this.#config, configOf(directory.path, address, options))
  }

  get log(): string {
    return this.#earlier + (this.#child === undefined ? '' : outputOf(this.#child))
  }

  requests(): RegistryRequest[] {
    return parseAccessLog(this.log)
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exit === undefined
  }

  async waitFor<T>(probe: () => T | undefined, what: string): Promise<T> {
    if (this.#child === undefined) throw new Error('the registry was never started')
    return await this.#child.waitFor(probe, { what })
  }

  async stop(): Promise<void> {
    await this.#child?.stop()
  }

  async restart(): Promise<void> {
    await this.stop()
    this.#earlier = this.log
    this.#child = new Child('docker-registry', ['serve', this.#config], {
      env: { ...LAB_ENVIRONMENT },
      prefix: this.#prefix,
    })
    await this.#child.waitForLine(/listening on /)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.[Symbol.asyncDispose]()
    await this.#directory[Symbol.asyncDispose]()
  }

  get #config(): string {
    return join(this.#directory.path, 'config.yml')
  }
}

function outputOf(child: Child): string {
  return child.stdout + child.stderr
}

/** The registry cannot say which port it was given, so one is chosen for it. */
async function defaultAddress(host: NetworkHost | undefined): Promise<string> {
  if (host !== undefined) return `${host.address}:5000`
  const probe = createServer()
  await once(probe.listen(0, '127.0.0.1'), 'listening')
  const { port } = probe.address() as AddressInfo
  await once(probe.close(), 'close')
  return `127.0.0.1:${port}`
}

/** Writes what the configuration refers to. JSON is YAML. */
function configOf(
  directory: string,
  address: string,
  { tls, authentication }: RegistryServerOptions,
): string {
  const write = (name: string, content: string): string => {
    writeFileSync(join(directory, name), content, { mode: 0o600 })
    return join(directory, name)
  }
  const certificates = tls && {
    certificate: write('server.crt', tls.certificate),
    key: write('server.key', tls.key),
  }
  return JSON.stringify({
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(directory, 'storage') },
      delete: { enabled: true },
    },
    http: { addr: address, secret: 'lab', ...(certificates && { tls: certificates }) },
    ...(authentication && { auth: authOf(authentication, write) }),
  })
}

function authOf(
  authentication: RegistryAuthentication,
  write: (name: string, content: string) => string,
): unknown {
  if (authentication.kind === 'basic') {
    const path = write('htpasswd', `${BASIC_ACCOUNT.username}:${HTPASSWD}\n`)
    return { htpasswd: { realm: 'lab', path } }
  }
  const { realm, service, issuer, certificate } = authentication
  return { token: { realm, service, issuer, rootcertbundle: write('tokens.crt', certificate) } }
}
