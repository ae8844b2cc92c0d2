import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { UpstreamOptions } from '../upstream/open-upstream.ts'
import { tempDir, type TempDir } from './temp-dir.ts'
import { openUpstreamFixture } from './upstream-fixture.ts'
import { basic, type SeenRequest, type ServerAccess } from './upstream-server.ts'

export const ACCOUNT = { username: 'bob', password: 'canary-password' }
export const BASIC: ServerAccess = { scheme: 'basic', ...ACCOUNT }
export const BEARER: ServerAccess = { scheme: 'bearer', ...ACCOUNT }
export const CLIENT = { kind: 'client', authorization: basic(ACCOUNT) } as const

export interface LoginOptions {
  readonly access?: ServerAccess
  /** of the config.json, by the host of the server */
  readonly login?: (host: string) => object
  readonly upstream?: UpstreamOptions
}

/** A config.json with the password in it. */
export const inline = (host: string) => ({
  auths: { [host]: { auth: Buffer.from(`bob:${ACCOUNT.password}`).toString('base64') } },
})

/** A registry, and a node with a config.json. */
export async function openWithLogin({ access, login = inline, upstream }: LoginOptions = {}) {
  const dir: TempDir = await tempDir()
  const file = join(dir.path, 'config.json')
  const fixture = await openUpstreamFixture({
    server: { ...(access && { access }) },
    upstream: (host) => ({ dockerConfigFile: file, insecureHosts: [host], ...upstream }),
  })
  await writeFile(file, JSON.stringify(login(fixture.server.host)))
  return {
    ...fixture,
    file,
    /** what came since the last call, in short */
    seen: () => fixture.server.requests.splice(0).map(shortOf),
    [Symbol.asyncDispose]: async () => {
      await fixture[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** A request in short: method, kind, and who is shown. */
export function shortOf({ method, url, headers }: SeenRequest): string {
  const what = /\/(token|manifests|blobs|tags|referrers)\b/.exec(url)?.[1] ?? url
  const scheme = headers.authorization?.split(' ')[0] ?? 'nobody'
  const name = headers.authorization?.endsWith('-named') === true ? 'named ' : ''
  return `${method} ${what} ${name}${scheme}`
}
