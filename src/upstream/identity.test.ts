import assert from 'node:assert/strict'
import { utimes, writeFile } from 'node:fs/promises'
import { test } from 'node:test'

import { silentLog, type Log } from '../telemetry/log.ts'
import { askAs, collect, NODE } from '../testing/upstream-fixture.ts'
import { BASIC, BEARER, CLIENT, inline, openWithLogin } from '../testing/upstream-login.ts'
import { basic } from '../testing/upstream-server.ts'

const MINUTE_MS = 60_000

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

test('a wrong password is a refusal', async () => {
  await using t = await openWithLogin({ access: { ...BEARER, password: 'another' } })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(NODE)), {
    code: 'UPSTREAM_DENIED',
  })
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
