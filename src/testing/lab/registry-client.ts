/** The test's own hand on a registry: it pushes images and asks for one path, over HTTP or TLS. */
import { once } from 'node:events'
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingMessage, OutgoingHttpHeaders, RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { buffer } from 'node:stream/consumers'
import type { Digest } from '../../oci/digest.ts'
import type { UpstreamImage } from './upstream-images.ts'

/** By this the requests of the test itself are known in a log. */
export const OWN_USER_AGENT = 'ddocker-lab'

const TIMEOUT_MS = 30_000
const PARALLEL_UPLOADS = 4

/** How a registry is reached. */
export interface RegistryClientOptions {
  /** `address:port` */
  address: string
  /** The authority of its certificate, PEM; plain HTTP by default. */
  authority?: string
  /** The Authorization header for a repository; none by default. */
  authorizationFor?: (repository: string) => string
}

/** An answer with its whole body. */
export interface RegistryAnswer {
  status: number
  headers: NodeJS.Dict<string | string[]>
  body: Buffer
}

/** A registry as the test itself speaks to it. Disposing closes its connections. */
export interface RegistryClient extends Disposable {
  send(
    method: string,
    target: string,
    options?: { headers?: OutgoingHttpHeaders; body?: Buffer; repository?: string },
  ): Promise<RegistryAnswer>
  /** Pushes blobs and manifests, and names the image by a tag. @throws Error when one is refused */
  push(repository: string, tag: string, image: UpstreamImage): Promise<void>
}

/** Opens a client; nothing is sent yet. */
export function openRegistryClient(options: RegistryClientOptions): RegistryClient {
  const isTls = options.authority !== undefined
  const agent = isTls ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
  const [host, port] = options.address.split(':')
  const send: RegistryClient['send'] = async (method, target, about = {}) => {
    const authorization =
      about.repository === undefined ? undefined : options.authorizationFor?.(about.repository)
    const all: RequestOptions & { ca?: string } = {
      method,
      host,
      port,
      path: target,
      agent,
      timeout: TIMEOUT_MS,
      ...(isTls && { ca: options.authority }),
      headers: {
        ...about.headers,
        'user-agent': OWN_USER_AGENT,
        ...(authorization !== undefined && { authorization }),
      },
    }
    const request = isTls ? httpsRequest(all) : httpRequest(all)
    request.end(about.body)
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const [response] = (await once(request, 'response', { signal })) as [IncomingMessage]
    const { statusCode = 0, headers } = response
    return { status: statusCode, headers, body: await buffer(response) }
  }
  const mustSend: typeof send = async (method, target, about) => {
    const answer = await send(method, target, about)
    if (answer.status < 300) return answer
    throw new Error(`${method} ${target}: ${answer.status} ${answer.body.toString()}`)
  }
  const upload = async (repository: string, digest: Digest, body: Buffer): Promise<void> => {
    const path = `/v2/${repository}/blobs`
    if ((await send('HEAD', `${path}/${digest}`, { repository })).status === 200) return
    const { headers } = await mustSend('POST', `${path}/uploads/`, { repository })
    const location = new URL(String(headers['location']), 'http://registry')
    location.searchParams.set('digest', digest)
    const target = location.pathname + location.search
    const type = { 'content-type': 'application/octet-stream' }
    await mustSend('PUT', target, { repository, headers: type, body })
  }
  return {
    send,
    push: async (repository, tag, image) => {
      const waiting = [...image.blobs]
      const worker = async (): Promise<void> => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          await upload(repository, ...next)
        }
      }
      await Promise.all(Array.from({ length: PARALLEL_UPLOADS }, worker))
      // Children first: a registry refuses an index whose manifests it does not have.
      for (const { digest, mediaType, bytes } of image.manifests) {
        const name = digest === image.root ? tag : digest
        const headers = { 'content-type': mediaType }
        const about = { repository, headers, body: bytes }
        await mustSend('PUT', `/v2/${repository}/manifests/${name}`, about)
      }
    },
    [Symbol.dispose]: () => agent.destroy(),
  }
}
