import { createHash } from 'node:crypto'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'

import { MEDIA_TYPES } from '../oci/media-types.ts'
import type { KeyPair } from './lab/test-authority.ts'

/** What came in, for a test to read. */
export interface SeenRequest {
  readonly method: string
  /** with the query */
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/**
 * Looks at a request before the registry does.
 * @returns true if it has answered it, or means to
 */
export type Hook = (
  request: SeenRequest,
  response: ServerResponse,
  incoming: IncomingMessage,
) => boolean | Promise<boolean>

/** Who may read; `token` makes this server its own token service, at `/token`, unless `realm` says otherwise. */
export interface ServerAccess {
  readonly scheme: 'basic' | 'bearer'
  readonly username: string
  readonly password: string
  /** an OAuth2 refresh token that is as good as the password */
  readonly refreshToken?: string
  /** repositories that everybody may read */
  readonly publicRepositories?: readonly string[]
  readonly realm?: string
  /** what stands for 401 once a token is shown that does not reach */
  readonly deniedStatus?: 401 | 403 | 404
  readonly tokenLifetimeS?: number
}

export interface UpstreamServerOptions {
  readonly certificate?: KeyPair
  readonly access?: ServerAccess
  readonly hook?: Hook
}

/** A registry of a test: the pull side of the OCI Distribution API over what was put into it. */
export class UpstreamServer implements AsyncDisposable {
  /** in order */
  readonly requests: SeenRequest[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #manifests = new Map<string, { mediaType: string; bytes: Buffer }>()
  readonly #blobs = new Map<string, Buffer>()
  readonly #tags = new Map<string, string>()
  readonly #tokens = new Map<string, { user: string; scope: string }>()
  connectionCount = 0
  hook: Hook | undefined
  access: ServerAccess | undefined

  private constructor({ certificate, access, hook }: UpstreamServerOptions) {
    this.access = access
    this.hook = hook
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch(() => response.destroy())
    }
    this.#server = certificate
      ? createHttpsServer({ cert: certificate.certificate, key: certificate.key }, listener)
      : createHttpServer(listener)
    this.#server.on('connection', (socket) => {
      this.connectionCount += 1
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  static async open(options: UpstreamServerOptions = {}): Promise<UpstreamServer> {
    const server = new UpstreamServer(options)
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return `127.0.0.1:${this.port}`
  }

  get openSocketCount(): number {
    return this.#sockets.size
  }

  /** How many requests had a URL that fits. */
  count(pattern: RegExp | string, method?: string): number {
    return this.requests.filter(
      (request) =>
        (method === undefined || request.method === method) &&
        (typeof pattern === 'string' ? request.url.includes(pattern) : pattern.test(request.url)),
    ).length
  }

  putBlob(bytes: Buffer): string {
    const digest = digestOfBytes(bytes)
    this.#blobs.set(digest, bytes)
    return digest
  }

  putManifest(
    repository: string,
    manifest: Buffer,
    { tag, mediaType = MEDIA_TYPES.ociManifest }: { tag?: string; mediaType?: string } = {},
  ): string {
    const digest = digestOfBytes(manifest)
    this.#manifests.set(`${repository}@${digest}`, { mediaType, bytes: manifest })
    if (tag !== undefined) this.#tags.set(`${repository}:${tag}`, digest)
    return digest
  }

  /** Makes all tokens worthless. */
  revokeTokens(): void {
    this.#tokens.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined)
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const request: SeenRequest = {
      method: incoming.method ?? '',
      url: incoming.url ?? '',
      headers: incoming.headers,
      body: Buffer.concat(chunks).toString(),
    }
    this.requests.push(request)
    if ((await this.hook?.(request, response, incoming)) === true) return
    const url = new URL(request.url, 'http://registry')
    if (url.pathname === '/token') return this.#giveToken(url, request, response)
    this.#serve(url, request, response)
  }

  #serve(url: URL, request: SeenRequest, response: ServerResponse): void {
    const [, repository = '', kind, reference = ''] =
      /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(url.pathname) ?? []
    const isPing = url.pathname === '/v2/'
    if (!isPing && kind === undefined) return end(response, 404)
    const refusal = this.#refusalOf(request, repository)
    if (refusal !== undefined) {
      if (refusal === 401) response.setHeader('www-authenticate', this.#challenge(repository))
      return end(response, refusal)
    }
    if (isPing) return end(response, 200, Buffer.from('{}'))
    if (kind === 'manifests') return this.#sendManifest(repository, reference, request, response)
    if (kind === 'blobs') return this.#sendBlob(reference, request, response)
    if (kind === 'tags') return this.#sendTags(repository, url, response)
    end(response, 404)
  }

  #sendManifest(
    repository: string,
    reference: string,
    { method }: SeenRequest,
    response: ServerResponse,
  ): void {
    const digest = this.#tags.get(`${repository}:${reference}`) ?? reference
    const manifest = this.#manifests.get(`${repository}@${digest}`)
    if (!manifest) return end(response, 404)
    response.setHeader('content-type', manifest.mediaType)
    response.setHeader('docker-content-digest', digest)
    response.setHeader('content-length', manifest.bytes.length)
    response.end(method === 'HEAD' ? undefined : manifest.bytes)
  }

  #sendBlob(digest: string, { method, headers }: SeenRequest, response: ServerResponse): void {
    const bytes = this.#blobs.get(digest)
    if (!bytes) return end(response, 404)
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
    response.setHeader('docker-content-digest', digest)
    response.setHeader('content-type', MEDIA_TYPES.octetStream)
    response.setHeader('content-length', bytes.length - start)
    if (start > 0) {
      response.statusCode = 206
      response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`)
    }
    response.end(method === 'HEAD' ? undefined : bytes.subarray(start))
  }

  #sendTags(repository: string, url: URL, response: ServerResponse): void {
    const all = [...this.#tags.keys()]
      .filter((name) => name.startsWith(`${repository}:`))
      .map((name) => name.slice(repository.length + 1))
      .sort()
    const count = Number(url.searchParams.get('n') ?? all.length)
    const after = url.searchParams.get('last')
    const left = after === null ? all : all.filter((tag) => tag > after)
    const tags = left.slice(0, count)
    if (left.length > count) {
      const next = `/v2/${repository}/tags/list?n=${count}&last=${tags.at(-1) ?? ''}`
      response.setHeader('link', `<${next}>; rel="next"`)
    }
    end(response, 200, Buffer.from(JSON.stringify({ name: repository, tags })))
  }

  /** The status that keeps a request out. */
  #refusalOf({ headers }: SeenRequest, repository: string): number | undefined {
    const { access } = this
    if (!access) return undefined
    const authorization = headers.authorization ?? ''
    const isPublic = access.publicRepositories?.includes(repository) === true
    if (access.scheme === 'basic') {
      return isPublic || authorization === basic(access) ? undefined : 401
    }
    const token = this.#tokens.get(authorization.replace(/^Bearer /, ''))
    if (!token) return 401
    const isInScope = token.scope.split(' ').includes(`repository:${repository}:pull`)
    const isAllowed = isPublic || token.user === access.username
    return repository === '' || (isInScope && isAllowed) ? undefined : (access.deniedStatus ?? 401)
  }

  #challenge(repository: string): string {
    const { access } = this
    if (access?.scheme !== 'bearer') return 'Basic realm="test"'
    const realm = access.realm ?? `http://${this.host}/token`
    const scope = repository === '' ? '' : `,scope="repository:${repository}:pull"`
    return `Bearer realm="${realm}",service="test-registry"${scope}`
  }

  #giveToken(url: URL, { headers, method, body }: SeenRequest, response: ServerResponse): void {
    const { access } = this
    const form = new URLSearchParams(body)
    const isRefresh = method === 'POST' && form.get('grant_type') === 'refresh_token'
    const isKnown = isRefresh
      ? form.get('refresh_token') === access?.refreshToken
      : access !== undefined && headers.authorization === basic(access)
    if (!isKnown && (isRefresh || headers.authorization !== undefined)) return end(response, 401)
    const scope = isRefresh ? (form.get('scope') ?? '') : url.searchParams.getAll('scope').join(' ')
    const token = `token-${this.#tokens.size}-${isKnown ? 'named' : 'anonymous'}`
    this.#tokens.set(token, { user: isKnown ? (access?.username ?? '') : '', scope })
    const lifetime = access?.tokenLifetimeS
    const answer = { token, ...(lifetime !== undefined && { expires_in: lifetime }) }
    end(response, 200, Buffer.from(JSON.stringify(answer)))
  }
}

/** The Authorization header for the account of a server. */
export function basic({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

/** An image manifest with one layer. */
export function imageManifest(config: Buffer, layer: Buffer): Buffer {
  const descriptor = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: digestOfBytes(bytes),
    size: bytes.length,
  })
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: descriptor(MEDIA_TYPES.ociConfig, config),
      layers: [descriptor(MEDIA_TYPES.ociLayer, layer)],
    }),
  )
}

function end(response: ServerResponse, status: number, body: Buffer = Buffer.alloc(0)): void {
  response.statusCode = status
  response.setHeader('content-type', 'application/json')
  response.setHeader('content-length', body.length)
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

function digestOfBytes(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
