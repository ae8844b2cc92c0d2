import assert from 'node:assert/strict'
import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import type { Log } from '../telemetry/log.ts'
import { silentLog } from '../telemetry/log.ts'
import { tempDir, type TempDir } from '../testing/temp-dir.ts'
import { askAs, collect, NODE, openUpstreamFixture } from '../testing/upstream-fixture.ts'
import { basic, type SeenRequest, type ServerAccess } from '../testing/upstream-server.ts'
import type { UpstreamOptions } from './open-upstream.ts'

const ACCOUNT = { username: 'bob', password: 'canary-password' }
const BASIC: ServerAccess = { scheme: 'basic', ...ACCOUNT }
const BEARER: ServerAccess = { scheme: 'bearer', ...ACCOUNT }
const CLIENT = { kind: 'client', authorization: basic(ACCOUNT) } as const
const MINUTE_MS = 60_000

interface LoginOptions {
  readonly access?: ServerAccess
  /** of the config.json, by the host of the server */
  readonly login?: (host: string) => object
  readonly upstream?: UpstreamOptions
}

const inline = (host: string) => ({
  auths: { [host]: { auth: Buffer.from(`bob:${ACCOUNT.password}`).toString('base64') } },
})

/** A registry, and a node with a config.json. */
async function openWithLogin({ access, login = inline, upstream }: LoginOptions = {}) {
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

function shortOf({ method, url, headers }: SeenRequest): string {
  const what = /\/(token|manifests|blobs|tags|referrers)\b/.exec(url)?.[1] ?? url
  const scheme = headers.authorization?.split(' ')[0] ?? 'nobody'
  const name = headers.authorization?.endsWith('-named') === true ? 'named ' : ''
  return `${method} ${what} ${name}${scheme}`
}

for (const identity of [askAs().identity, NODE, CLIENT]) {
  test(`what everybody may read is public, and no credential is sent: ${identity.kind}`, async () => {
    await using t = await openWithLogin()
    const found = await t.upstream.resolve(t.repository, '1', askAs(identity))
    assert.equal(found?.digest, t.manifestDigest)
    assert.equal(found.access, 'public')
    assert.deepEqual(t.seen(), ['HEAD manifests nobody'])
  })

  test(`what everybody may read with a token for everybody is public: ${identity.kind}`, async () => {
    const access = { ...BEARER, publicRepositories: ['team/app'] }
    await using t = await openWithLogin({ access })
    const found = await t.upstream.resolve(t.repository, '1', askAs(identity))
    assert.equal(found?.access, 'public')
    const { access: again } =
      (await t.upstream.manifest(t.repository, t.manifestDigest, askAs(identity))) ?? {}
    assert.equal(again, 'public')
    assert.deepEqual(t.seen(), [
      'HEAD manifests nobody',
      'GET token nobody',
      'HEAD manifests Bearer',
      'GET manifests Bearer',
    ])
  })
}

test('an anonymous question ends with a refusal, whatever the node has', async () => {
  await using t = await openWithLogin({ access: BASIC })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
    code: 'UPSTREAM_DENIED',
    details: { host: t.server.host, repository: 'team/app', status: 401 },
  })
  assert.deepEqual(t.seen(), ['HEAD manifests nobody'])
})

for (const identity of [NODE, CLIENT]) {
  test(`Basic: a credential opens what is private, and the next question takes one trip: ${identity.kind}`, async () => {
    await using t = await openWithLogin({ access: BASIC })
    const found = await t.upstream.resolve(t.repository, '1', askAs(identity))
    assert.equal(found?.access, 'private')
    const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs(identity))
    assert.equal(blob?.access, 'private')
    assert.deepEqual(await collect(blob.content), t.layer)
    assert.deepEqual(t.seen(), ['HEAD manifests nobody', 'HEAD manifests Basic', 'GET blobs Basic'])
  })

  test(`Bearer: the credential goes to the token service, and the next question takes one trip: ${identity.kind}`, async () => {
    await using t = await openWithLogin({ access: { ...BEARER, tokenLifetimeS: 300 } })
    const found = await t.upstream.resolve(t.repository, '1', askAs(identity))
    assert.equal(found?.access, 'private')
    assert.equal(
      await t.upstream.has(t.repository, { kind: 'blob', digest: t.layerDigest }, askAs(identity)),
      'private',
    )
    const [, , , login] = t.server.requests
    const asked = new URL(login?.url ?? '', 'http://x').searchParams
    assert.deepEqual(
      [...asked],
      [
        ['service', 'test-registry'],
        ['scope', 'repository:team/app:pull'],
        ['account', 'bob'],
      ],
    )
    assert.deepEqual(t.seen(), [
      'HEAD manifests nobody',
      'GET token nobody',
      'HEAD manifests Bearer',
      'GET token Basic',
      'HEAD manifests named Bearer',
      'HEAD blobs named Bearer',
    ])
  })
}

for (const deniedStatus of [403, 404] as const) {
  test(`a registry that answers ${deniedStatus} to everybody is asked with the credential`, async () => {
    await using t = await openWithLogin({ access: { ...BEARER, deniedStatus } })
    const found = await t.upstream.resolve(t.repository, '1', askAs(NODE))
    assert.equal(found?.access, 'private')
  })
}

test('a registry that hides what is private behind a plain 404 is asked how it wants to be asked', async () => {
  await using t = await openWithLogin({ access: BASIC })
  t.server.hook = ({ headers, url }, response) => {
    if (url === '/v2/' || headers.authorization !== undefined) return false
    response.writeHead(404).end()
    return true
  }
  const found = await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.equal(found?.access, 'private')
  assert.deepEqual(t.seen(), ['HEAD manifests nobody', 'GET /v2/ nobody', 'HEAD manifests Basic'])
})

test('a registry that never challenges is shown the credential in the end', async () => {
  await using t = await openWithLogin({ access: BASIC })
  t.server.hook = ({ headers, url }, response) => {
    if (headers.authorization !== undefined) return false
    response.writeHead(url === '/v2/' ? 200 : 404).end()
    return true
  }
  const found = await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.equal(found?.access, 'private')
})

test('a tag that is not there is undefined, and a public repository is not asked with a credential for it', async () => {
  await using t = await openWithLogin()
  assert.ok(await t.upstream.resolve(t.repository, '1', askAs(NODE)))
  assert.equal(await t.upstream.resolve(t.repository, '2', askAs(NODE)), undefined)
  assert.deepEqual(t.seen(), ['HEAD manifests nobody', 'HEAD manifests nobody'])
})

test('a repository that became private stops counting as public', async () => {
  const access = { ...BEARER, publicRepositories: ['team/app'], tokenLifetimeS: 86_400 }
  await using t = await openWithLogin({ access })
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'public')
  t.server.access = { ...BEARER }
  t.passMs(5 * MINUTE_MS)
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
})

test('a repository that became public is found so after ten minutes', async () => {
  await using t = await openWithLogin({ access: BASIC })
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  t.server.access = undefined
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  t.passMs(10 * MINUTE_MS)
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'public')
})

test('a token is used until shortly before it ends', async () => {
  await using t = await openWithLogin({ access: { ...BEARER, tokenLifetimeS: 120 } })
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  t.seen()
  t.passMs(100_000)
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.deepEqual(t.seen(), ['HEAD manifests named Bearer'])
  t.passMs(11_000)
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.deepEqual(t.seen(), ['GET token Basic', 'HEAD manifests named Bearer'])
})

test('a token that is refused is renewed once', async () => {
  await using t = await openWithLogin({ access: BEARER })
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  t.seen()
  t.server.revokeTokens()
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  assert.deepEqual(t.seen(), [
    'HEAD manifests named Bearer',
    'GET token Basic',
    'HEAD manifests named Bearer',
  ])
})

test('a registry that answers 401 whatever it is shown is asked a few times, not for ever', async () => {
  await using t = await openWithLogin({ access: BEARER })
  t.server.hook = ({ url }, response) => {
    if (url.startsWith('/token')) return false
    response.setHeader('www-authenticate', `Bearer realm="http://${t.server.host}/token"`)
    response.writeHead(401).end()
    return true
  }
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(NODE)), {
    code: 'UPSTREAM_DENIED',
  })
  assert.deepEqual(t.seen(), [
    'HEAD manifests nobody',
    'GET token nobody',
    'HEAD manifests Bearer',
    'GET token Basic',
    'HEAD manifests named Bearer',
  ])
})

test('a wrong password is a refusal', async () => {
  await using t = await openWithLogin({ access: { ...BEARER, password: 'another' } })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(NODE)), {
    code: 'UPSTREAM_DENIED',
  })
})

test('many questions at once share one token', async () => {
  await using t = await openWithLogin({ access: BEARER })
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => t.upstream.resolve(t.repository, '1', askAs(NODE))),
  )
  assert.ok(answers.every((answer) => answer?.access === 'private'))
  assert.equal(
    t.server.requests.filter((request) => shortOf(request) === 'GET token Basic').length,
    1,
  )
})

test('a token request goes on when the one who caused it leaves', async () => {
  await using t = await openWithLogin({ access: BEARER })
  const asked = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  t.server.hook = async ({ url }) => {
    if (!url.startsWith('/token')) return false
    asked.resolve()
    await goOn.promise
    return false
  }
  const controller = new AbortController()
  const left = t.upstream.resolve(t.repository, '1', { identity: NODE, signal: controller.signal })
  await asked.promise
  const stays = t.upstream.resolve(t.repository, '1', askAs(NODE))
  controller.abort(new Error('enough'))
  await assert.rejects(left, { message: 'enough' })
  goOn.resolve()
  assert.equal((await stays)?.access, 'private')
})

test('an identity token is exchanged by POST', async () => {
  await using t = await openWithLogin({
    access: { ...BEARER, refreshToken: 'canary-refresh' },
    login: (host) => ({ auths: { [host]: { identitytoken: 'canary-refresh' } } }),
  })
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  const exchange = t.server.requests.find(({ method }) => method === 'POST')
  assert.deepEqual(Object.fromEntries(new URLSearchParams(exchange?.body)), {
    grant_type: 'refresh_token',
    client_id: 'ddocker',
    scope: 'repository:team/app:pull',
    service: 'test-registry',
    refresh_token: 'canary-refresh',
  })
})

test('a registry token is shown to the registry, and to no token service', async () => {
  await using t = await openWithLogin({
    access: BEARER,
    login: (host) => ({ auths: { [host]: { registrytoken: 'canary-token' } } }),
  })
  t.server.hook = ({ headers, url }, response) => {
    if (url.startsWith('/token') || headers.authorization !== 'Bearer canary-token') return false
    response.setHeader('docker-content-digest', t.manifestDigest)
    response
      .writeHead(200, {
        'content-type': 'application/vnd.oci.image.manifest.v1+json',
        'content-length': 9,
      })
      .end()
    return true
  }
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  const tokens = t.server.requests.filter(({ url }) => url.startsWith('/token'))
  assert.deepEqual(
    tokens.map(({ headers }) => headers.authorization),
    [undefined],
  )
})

test('what one client opened is not open for another', async () => {
  await using t = await openWithLogin({ access: BASIC })
  assert.ok(await t.upstream.resolve(t.repository, '1', askAs(CLIENT)))
  const other = {
    kind: 'client',
    authorization: basic({ username: 'eve', password: 'x' }),
  } as const
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(other)), {
    code: 'UPSTREAM_DENIED',
  })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), { code: 'UPSTREAM_DENIED' })
})

test('a scope of another repository is not asked for', async () => {
  await using t = await openWithLogin({ access: BEARER })
  t.server.hook = ({ url }, response) => {
    if (url.startsWith('/token')) return false
    const realm = `Bearer realm="http://${t.server.host}/token"`
    response.setHeader('www-authenticate', `${realm},scope="repository:other/secret:pull,push aws"`)
    response.writeHead(401).end()
    return true
  }
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(NODE)))
  const scopes = t.server.requests
    .filter(({ url }) => url.startsWith('/token'))
    .map(({ url }) => new URL(url, 'http://x').searchParams.getAll('scope'))
  assert.deepEqual(scopes, [
    ['repository:team/app:pull', 'aws'],
    ['repository:team/app:pull', 'aws'],
  ])
})

test('429 to everybody is met with the credential, without a wait', async () => {
  await using t = await openWithLogin()
  t.server.hook = ({ headers }, response) => {
    if (headers.authorization !== undefined) return false
    response.writeHead(429, { 'retry-after': '300' }).end()
    return true
  }
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.deepEqual(t.seen(), [
    'HEAD manifests nobody',
    'GET /v2/ nobody',
    'HEAD manifests Basic',
    'GET /v2/ nobody',
    'HEAD manifests Basic',
  ])
})

test('how a registry wants to be asked is asked again when it was forgotten', async () => {
  await using t = await openWithLogin({ access: { ...BEARER, tokenLifetimeS: 60 } })
  t.server.hook = ({ headers, url }, response) => {
    if (url === '/v2/' || url.startsWith('/token') || headers.authorization !== undefined)
      return false
    response.writeHead(404).end()
    return true
  }
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  t.passMs(5 * MINUTE_MS)
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  t.passMs(5 * MINUTE_MS)
  t.seen()
  await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.deepEqual(t.seen(), [
    'HEAD manifests nobody',
    'GET /v2/ nobody',
    'GET token Basic',
    'HEAD manifests named Bearer',
  ])
})

test('a login that changes counts at once', async () => {
  await using t = await openWithLogin({ access: BASIC, login: () => ({}) })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(NODE)), {
    code: 'UPSTREAM_DENIED',
  })
  await writeFile(t.file, JSON.stringify(inline(t.server.host)))
  await utimes(t.file, 1, 1)
  assert.equal((await t.upstream.resolve(t.repository, '1', askAs(NODE)))?.access, 'private')
  await writeFile(t.file, '{}')
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(NODE)), {
    code: 'UPSTREAM_DENIED',
  })
})

test('a broken config.json is logged once, and what is public is still pulled', async () => {
  const lines: unknown[] = []
  const log: Log = { ...silentLog, warn: (fields: unknown) => lines.push(fields) }
  await using t = await openWithLogin({
    login: () => ({ auths: 'canary' }),
    access: { ...BEARER, publicRepositories: ['team/app'] },
    upstream: { log },
  })
  assert.ok(await t.upstream.resolve(t.repository, '1', askAs(NODE)))
  const hidden = { ...t.repository, repository: 'team/secret' }
  await assert.rejects(t.upstream.resolve(hidden, '1', askAs(NODE)), { code: 'UPSTREAM_DENIED' })
  await assert.rejects(t.upstream.resolve(hidden, '2', askAs(NODE)), { code: 'UPSTREAM_DENIED' })
  assert.equal(lines.length, 1)
  assert.match(JSON.stringify(lines), /CREDENTIALS_INVALID/)
  assert.doesNotMatch(JSON.stringify(lines), /canary/)
})
