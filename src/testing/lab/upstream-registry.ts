/**
 * An upstream of a test: a real registry with the test's own hand on it. What it was asked is read
 * from the log that it writes itself.
 */
import { randomUUID } from 'node:crypto'
import { isBlobBody } from './registry-access-log.ts'
import type { RegistryRequest } from './registry-access-log.ts'
import { openRegistryClient, OWN_USER_AGENT } from './registry-client.ts'
import type { RegistryClient } from './registry-client.ts'
import { BASIC_ACCOUNT, startRegistryServer } from './registry-server.ts'
import type { RegistryServer, RegistryServerOptions } from './registry-server.ts'
import { startTokenServer } from './token-server.ts'
import type { TokenServer, TokenServerOptions } from './token-server.ts'
import type { TestAuthority } from './test-authority.ts'

/** What an upstream is like. */
export interface UpstreamRegistryOptions extends Pick<RegistryServerOptions, 'host' | 'listen'> {
  /** With one, it speaks TLS by a certificate of this authority. */
  authority?: TestAuthority
  /** Names of its certificate besides 127.0.0.1 and the address it listens at. */
  names?: readonly string[]
  /** Whom it answers: default everybody. With `bearer` it has a token server of its own. */
  authentication?: 'none' | 'basic' | 'bearer'
  /** For `bearer`; its certificate is of the same authority. */
  tokens?: Omit<TokenServerOptions, 'tls'>
}

/** A running upstream. Disposing ends it. */
export interface UpstreamRegistry extends AsyncDisposable {
  /** `address:port` */
  readonly address: string
  readonly server: RegistryServer
  /** With `bearer` only. */
  readonly tokens: TokenServer | undefined
  /** The hand of the test, which is allowed everything. */
  readonly client: RegistryClient
  push: RegistryClient['push']
  /**
   * What everybody but this test has asked since a place in the log, with all that was answered up
   * to now.
   * @param since what `mark` gave; from the start by default
   */
  requests(since?: number): Promise<RegistryRequest[]>
  /** Those among them that were sent bytes of a blob. */
  blobRequests(since?: number): Promise<RegistryRequest[]>
  /** A place in the log. */
  mark(): Promise<number>
  stop(): Promise<void>
  /** Starts it again with the same address and content. */
  restart(): Promise<void>
}

/** Starts an empty upstream. */
export async function startUpstreamRegistry(
  options: UpstreamRegistryOptions = {},
): Promise<UpstreamRegistry> {
  await using opening = new AsyncDisposableStack()
  const { authority, names = [], authentication = 'none', host, listen } = options
  const place = { ...(host && { host }), ...(listen !== undefined && { listen }) }
  const address = listen?.split(':')[0] ?? host?.address ?? '127.0.0.1'
  const tls = await authority?.issue(address, ...names)
  const tokens = authentication === 'bearer' ? opening.use(await tokenServer(options)) : undefined
  const server = opening.use(
    await startRegistryServer({
      ...place,
      ...(tls && { tls }),
      ...(tokens && { authentication: tokens.authentication }),
      ...(authentication === 'basic' && { authentication: { kind: 'basic' } }),
    }),
  )
  const client = opening.use(
    openRegistryClient({
      address: server.address,
      ...(authority && { authority: authority.certificate }),
      authorizationFor: (repository) =>
        tokens === undefined ? basicHeader() : `Bearer ${tokens.pushToken(repository)}`,
    }),
  )
  const opened = opening.move()
  const requests: UpstreamRegistry['requests'] = async (since = 0) => {
    const end = await settle(server, client)
    return server.requests().slice(since, end).filter(isForeign)
  }
  return {
    address: server.address,
    server,
    tokens,
    client,
    push: async (...args) => await client.push(...args),
    requests,
    blobRequests: async (since) => (await requests(since)).filter(isBlobBody),
    mark: async () => await settle(server, client),
    stop: async () => await server.stop(),
    restart: async () => await server.restart(),
    [Symbol.asyncDispose]: async () => await opened.disposeAsync(),
  }
}

/** Waits until all is in the log that was answered before. @returns how many requests are in it */
async function settle(server: RegistryServer, client: RegistryClient): Promise<number> {
  if (!server.isRunning) return server.requests().length
  const target = `/v2/?mark=${randomUUID()}`
  await client.send('GET', target)
  return await server.waitFor(() => {
    const found = server.requests().findIndex((request) => request.target === target)
    return found === -1 ? undefined : found + 1
  }, 'the mark in its log')
}

function isForeign({ userAgent }: RegistryRequest): boolean {
  return userAgent !== OWN_USER_AGENT
}

function basicHeader(): string {
  const { username, password } = BASIC_ACCOUNT
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

async function tokenServer(options: UpstreamRegistryOptions): Promise<TokenServer> {
  const { authority, tokens = {} } = options
  const names = [tokens.address, tokens.name].filter((name) => name !== undefined)
  const tls = await authority?.issue(...names)
  return await startTokenServer({ ...tokens, ...(tls && { tls }) })
}
