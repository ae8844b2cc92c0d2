/**
 * A token server for a registry with Bearer authentication, as Docker Hub and ghcr.io have one
 * (distribution, docs/spec/auth/token.md and oauth.md). Anybody gets a token to pull what is public;
 * accounts get more. It grants what may be granted of what is asked, and denies by leaving out.
 */
import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { RegistryAuthentication } from './registry-server.ts'
import { makeSelfSigned } from './test-authority.ts'
import type { KeyPair } from './test-authority.ts'

const ISSUER = 'ddocker-lab-tokens'
const LIFETIME_SECONDS = 300
const CLOCK_SLACK_SECONDS = 60
const PUSHER = 'the test itself'

/** Somebody with a password. */
export interface TokenAccount {
  readonly username: string
  readonly password: string
  /** What he may pull besides what is public. */
  readonly repositories: readonly string[]
}

/** What a token server knows, and where it listens. */
export interface TokenServerOptions {
  /** An address of this process; 127.0.0.1 by default. */
  address?: string
  /** Plain HTTP by default. */
  tls?: KeyPair
  /** How clients write it, where they do not use the address: a DNS name of the certificate. */
  name?: string
  /** As `service` of the challenge. */
  service?: string
  /** Whether anybody may pull a repository; default every one. */
  isPublic?: (repository: string) => boolean
  accounts?: readonly TokenAccount[]
  lifetimeSeconds?: number
}

/** One question that the server has answered. */
export interface TokenRequest {
  readonly method: string
  /** Of the account that was shown; undefined when nobody was. */
  readonly username: string | undefined
  readonly scopes: readonly string[]
  /** What the token is good for, such as `repository:app:pull`. */
  readonly granted: readonly string[]
  readonly status: number
}

/** A running token server. Disposing ends it. */
export interface TokenServer extends AsyncDisposable {
  /** For the registry whose tokens it issues. */
  readonly authentication: Extract<RegistryAuthentication, { kind: 'bearer' }>
  /** Everything that it was asked, oldest first. */
  readonly requests: readonly TokenRequest[]
  /** A token for the test itself, with which it may push and pull a repository. */
  pushToken(repository: string): string
}

interface Access {
  readonly type: string
  readonly name: string
  readonly actions: readonly string[]
}

/** Starts a token server with a fresh key (ES256). */
export async function startTokenServer(options: TokenServerOptions = {}): Promise<TokenServer> {
  const keys = await makeSelfSigned('ddocker lab tokens')
  const issue = tokenIssuer(keys, options)
  const requests: TokenRequest[] = []
  const server = serverOf(options, (request, response) => {
    void answer(request, response, { options, issue, requests })
  })
  const address = options.address ?? '127.0.0.1'
  await once(server.listen(0, address), 'listening')
  const { port } = server.address() as AddressInfo
  const scheme = options.tls === undefined ? 'http' : 'https'
  return {
    authentication: {
      kind: 'bearer',
      realm: `${scheme}://${options.name ?? address}:${port}/token`,
      service: serviceOf(options),
      issuer: ISSUER,
      certificate: keys.certificate,
    },
    requests,
    pushToken: (repository) =>
      issue(PUSHER, [{ type: 'repository', name: repository, actions: ['pull', 'push'] }]),
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function serverOf({ tls }: TokenServerOptions, listener: RequestListener): Server {
  if (tls === undefined) return createHttpServer(listener)
  return createHttpsServer({ cert: tls.certificate, key: tls.key }, listener)
}

function serviceOf({ service = 'ddocker-lab' }: TokenServerOptions): string {
  return service
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  tools: {
    options: TokenServerOptions
    issue: (subject: string, access: readonly Access[]) => string
    requests: TokenRequest[]
  },
): Promise<void> {
  const { options, issue, requests } = tools
  const parameters = await parametersOf(request)
  const scopes = parameters.getAll('scope').flatMap((scope) => scope.split(' ').filter(Boolean))
  const account = accountOf(request, parameters, options)
  const access =
    account === 'wrong' ? [] : scopes.flatMap((scope) => grant(scope, account, options))
  const status = statusOf(parameters, account, options)
  requests.push({
    method: request.method ?? '',
    username: account === 'wrong' ? undefined : account?.username,
    scopes,
    granted: access.map(({ type, name, actions }) => `${type}:${name}:${actions.join(',')}`),
    status,
  })
  const token = issue(account === 'wrong' ? '' : (account?.username ?? ''), access)
  const lifetime = { expires_in: lifetimeOf(options), issued_at: new Date().toISOString() }
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(
    JSON.stringify(status === 200 ? { token, access_token: token, ...lifetime } : { errors: [] }),
  )
}

/** GET has a query (token.md), POST a form (oauth.md). */
async function parametersOf(request: IncomingMessage): Promise<URLSearchParams> {
  if (request.method === 'POST') return new URLSearchParams(await text(request))
  return new URL(request.url ?? '', 'http://token').searchParams
}

function accountOf(
  request: IncomingMessage,
  parameters: URLSearchParams,
  { accounts = [] }: TokenServerOptions,
): TokenAccount | 'wrong' | undefined {
  const shown = shownCredential(request.headers.authorization, parameters)
  if (shown === undefined) return undefined
  return accounts.find(({ username, password }) => `${username}:${password}` === shown) ?? 'wrong'
}

function shownCredential(
  header: string | undefined,
  parameters: URLSearchParams,
): string | undefined {
  const [scheme = '', encoded = ''] = header?.split(' ') ?? []
  if (scheme.toLowerCase() === 'basic') return Buffer.from(encoded, 'base64').toString()
  const username = parameters.get('username')
  return username === null ? undefined : `${username}:${parameters.get('password')}`
}

function statusOf(
  parameters: URLSearchParams,
  account: TokenAccount | 'wrong' | undefined,
  options: TokenServerOptions,
): number {
  if (account === 'wrong') return 401
  return parameters.get('service') === serviceOf(options) ? 200 : 400
}

function grant(
  scope: string,
  account: TokenAccount | undefined,
  { isPublic = () => true }: TokenServerOptions,
): Access[] {
  const [type = '', name = '', actions = ''] = scope.split(':')
  const mayPull = isPublic(name) || (account?.repositories.includes(name) ?? false)
  const asksToPull = actions.split(',').includes('pull')
  return type === 'repository' && mayPull && asksToPull ? [{ type, name, actions: ['pull'] }] : []
}

/** Signs JSON Web Tokens (RFC 7519) by ES256 with the certificate in the header (RFC 7515, x5c). */
function tokenIssuer(
  keys: KeyPair,
  options: TokenServerOptions,
): (subject: string, access: readonly Access[]) => string {
  const certificate = new X509Certificate(keys.certificate).raw.toString('base64')
  const key = createPrivateKey(keys.key)
  return (subject, access) => {
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: ISSUER,
      sub: subject,
      aud: serviceOf(options),
      iat: now,
      nbf: now - CLOCK_SLACK_SECONDS,
      exp: now + lifetimeOf(options),
      jti: randomUUID(),
      access,
    }
    const signed = [{ typ: 'JWT', alg: 'ES256', x5c: [certificate] }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' })
    return `${signed}.${signature.toString('base64url')}`
  }
}

function lifetimeOf({ lifetimeSeconds = LIFETIME_SECONDS }: TokenServerOptions): number {
  return lifetimeSeconds
}
