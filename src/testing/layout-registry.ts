import { readdir, readFile } from 'node:fs/promises'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { digestOf } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import type { LayoutFixture } from './testnet.ts'

/** A request as a registry of a test saw it. */
export interface SeenRequest {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly headers: IncomingMessage['headers']
}

/** The pull side of a registry, in this process: images of layout folders, over plain HTTP on loopback. */
export interface LayoutRegistry extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly address: string
  /** all requests so far, oldest first */
  readonly requests: readonly SeenRequest[]
  add(repository: string, image: LayoutFixture, options?: { tag?: string }): Promise<void>
}

/** Answers a request in the registry's place. @returns whether it did */
export type RegistryGuard = (request: IncomingMessage, response: ServerResponse) => boolean

interface Content {
  readonly bytes: Buffer
  readonly mediaType: string
}

const ROUTE = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)(?:\?.*)?$/

/** Opens an empty registry on a free port; `guard` is asked before each answer. */
export async function openLayoutRegistry({
  guard = () => false,
}: { guard?: RegistryGuard } = {}): Promise<LayoutRegistry> {
  const contents = new Map<string, Content>()
  const requests: SeenRequest[] = []
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    requests.push({ method, url, headers, authorization: headers.authorization })
    if (!guard(request, response)) answer(contents, request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async add(repository, image, { tag = '1' } = {}) {
      for (const [reference, content] of await contentsOf(image, tag)) {
        contents.set(`${repository}/${reference}`, content)
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function contentsOf(image: LayoutFixture, tag: string): Promise<Map<string, Content>> {
  const contents = new Map<string, Content>()
  const folder = join(image.path, 'blobs/sha256')
  for (const name of await readdir(folder)) {
    const bytes = await readFile(join(folder, name))
    const isManifest = digestOf(bytes) === image.manifest
    const content = { bytes, mediaType: isManifest ? mediaTypeOf(bytes) : MEDIA_TYPES.octetStream }
    contents.set(`${isManifest ? 'manifests' : 'blobs'}/sha256:${name}`, content)
    if (isManifest) contents.set(`manifests/${tag}`, content)
  }
  return contents
}

function mediaTypeOf(manifest: Buffer): string {
  return (JSON.parse(manifest.toString()) as { mediaType: string }).mediaType
}

function answer(
  contents: ReadonlyMap<string, Content>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  response.setHeader('Docker-Distribution-API-Version', 'registry/2.0')
  if (/^\/v2\/?(?:\?.*)?$/.test(request.url ?? '')) {
    response.setHeader('Content-Type', 'application/json')
    response.end('{}')
    return
  }
  const [, repository, kind, reference = ''] = ROUTE.exec(request.url ?? '') ?? []
  const content = contents.get(`${repository}/${kind}/${decodeURIComponent(reference)}`)
  if (!content) {
    answerUnknown(response, kind)
    return
  }
  send(content, request, response)
}

function send(
  { bytes, mediaType }: Content,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const start = Number(range?.[1] ?? 0)
  const end = range?.[2] ? Math.min(Number(range[2]), bytes.length - 1) : bytes.length - 1
  response.writeHead(range ? 206 : 200, {
    'Content-Type': mediaType,
    'Content-Length': end + 1 - start,
    'Docker-Content-Digest': digestOf(bytes),
    'Accept-Ranges': 'bytes',
    ...(range && { 'Content-Range': `bytes ${start}-${end}/${bytes.length}` }),
  })
  response.end(request.method === 'HEAD' ? undefined : bytes.subarray(start, end + 1))
}

function answerUnknown(response: ServerResponse, kind: string | undefined): void {
  const code = kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN'
  response.writeHead(404, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify({ errors: [{ code, message: 'unknown' }] }))
}
