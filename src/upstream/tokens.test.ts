import assert from 'node:assert/strict'
import { test } from 'node:test'

import { askAs, NODE } from '../testing/upstream-fixture.ts'
import { BEARER, openWithLogin, shortOf } from '../testing/upstream-login.ts'

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
