import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { isOperationError } from '../errors.ts'
import type { UpstreamOptions } from '../upstream/open-upstream.ts'
import { makeTestAuthority } from './lab/test-authority.ts'
import { tempDir } from './temp-dir.ts'
import {
  askAs,
  openUpstreamFixture,
  QUICK_TIMES,
  type UpstreamFixture,
} from './upstream-fixture.ts'
import { basic, type SeenRequest } from './upstream-server.ts'

export const ACCOUNT = { username: 'bob', password: 'canary-password' }
export const CLIENT = { kind: 'client', authorization: basic(ACCOUNT) } as const
export const PUBLIC = '1.2.3.4'
export const PRIVATE = '10.1.2.3'

/** A world of names: what they mean, while everything is dialled at 127.0.0.1. */
export function world(
  names: Readonly<Record<string, string | readonly string[]>>,
): Required<Pick<UpstreamOptions, 'lookup' | 'dial'>> {
  return {
    lookup: async (name) => {
      const addresses = names[name]
      if (addresses === undefined) throw Object.assign(new Error('no'), { code: 'ENOTFOUND' })
      return [addresses]
        .flat()
        .map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    },
    dial: () => '127.0.0.1',
  }
}

/** The code of what is thrown, `none` where nothing is. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  const thrown: unknown = await work.then(
    () => 'none',
    (error: unknown) => error,
  )
  return isOperationError(thrown) ? thrown.code : String(thrown)
}

/** Redirects the requests for blobs. */
export function redirectBlobs(
  t: UpstreamFixture,
  location: string | ((request: SeenRequest) => string),
  status = 307,
): void {
  t.server.hook = (request, response) => {
    if (!request.url.includes('/blobs/')) return false
    response.writeHead(status, {
      location: typeof location === 'string' ? location : location(request),
    })
    response.end('a page about it')
    return true
  }
}

/** Asks for the layer. */
export const askForLayer = (t: UpstreamFixture, identity = askAs().identity) =>
  t.upstream.blob(t.repository, { digest: t.layerDigest, size: t.layer.length }, askAs(identity))

export interface NamedOptions {
  /** what `reg.example` and `cdn.example` mean */
  readonly reg: string
  readonly cdn?: string
  readonly isTrusting?: boolean
  readonly issuedFor?: string
  /** by the owner of the node, with the port of the server */
  readonly named?: string
}

/** A registry with a name and TLS, seemingly at any address; the same server is `cdn.example`. */
export async function openNamedRegistry({
  reg,
  cdn = PUBLIC,
  isTrusting = true,
  issuedFor = 'reg.example',
  named = 'none.example',
}: NamedOptions) {
  const authority = await makeTestAuthority()
  const dir = await tempDir()
  const caFile = join(dir.path, 'ca.pem')
  await writeFile(caFile, authority.certificate)
  const certificate = await authority.issue(issuedFor, 'cdn.example', 'auth.example', 'other.test')
  const fixture = await openUpstreamFixture({
    server: { certificate },
    upstream: (host) => ({
      ...(isTrusting && { caFile }),
      localHosts: [host.replace('127.0.0.1', named)],
      times: QUICK_TIMES,
      ...world({
        'reg.example': reg,
        'cdn.example': cdn,
        'auth.reg.example': cdn,
        'other.test': cdn,
      }),
    }),
  })
  const { port } = fixture.server
  return {
    ...fixture,
    port,
    repository: { registry: `reg.example:${port}`, repository: 'team/app' },
    [Symbol.asyncDispose]: async () => {
      await fixture[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}
