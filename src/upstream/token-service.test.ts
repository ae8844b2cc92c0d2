import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { makeTestAuthority } from '../testing/lab/test-authority.ts'
import {
  ACCOUNT,
  CLIENT,
  PUBLIC,
  PRIVATE,
  world,
  codeOf,
  openNamedRegistry,
} from '../testing/named-registry.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { askAs, NODE, openUpstreamFixture, QUICK_TIMES } from '../testing/upstream-fixture.ts'
import { UpstreamServer } from '../testing/upstream-server.ts'
import { openUpstream } from './open-upstream.ts'

/** Challenges with a realm of its own. */
function challenge(t: { readonly server: UpstreamServer }, realm: string): void {
  t.server.hook = ({ url, headers }, response) => {
    if (url.startsWith('/token') || headers.authorization?.startsWith('Bearer') === true)
      return false
    response.setHeader('www-authenticate', `Bearer realm="${realm}",service="x"`)
    response.writeHead(401).end()
    return true
  }
}

for (const realm of [
  'http://127.0.0.1:1/token',
  'https://localhost/token',
  'http://169.254.169.254/token',
  'https://[::1]/token',
  'http://metadata.google.internal/computeMetadata/v1/',
]) {
  test(`a token service at ${realm} is refused`, async () => {
    await using t = await openUpstreamFixture()
    challenge(t, realm)
    assert.equal(
      await codeOf(t.upstream.resolve(t.repository, '1', askAs(CLIENT))),
      'UPSTREAM_ADDRESS_REFUSED',
    )
  })
}

test('a public registry does not send to a token service in a private network', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC, cdn: PRIVATE })
  challenge(t, `https://cdn.example:${t.port}/token`)
  assert.equal(
    await codeOf(t.upstream.resolve(t.repository, '1', askAs(CLIENT))),
    'UPSTREAM_ADDRESS_REFUSED',
  )
  assert.ok(t.server.requests.every(({ url }) => !url.startsWith('/token')))
})

test('a token service of another domain is asked without the credential', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC })
  t.server.access = { scheme: 'bearer', ...ACCOUNT }
  challenge(t, `https://other.test:${t.port}/token`)
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(CLIENT)), {
    code: 'UPSTREAM_DENIED',
    message: /its token service other\.test:\d+ is not one that the credential may go to$/,
  })
  const tokens = t.server.requests.filter(({ url }) => url.startsWith('/token'))
  assert.ok(tokens.length > 0)
  assert.ok(
    t.server.requests.every(({ headers }) => headers.authorization?.startsWith('Basic') !== true),
  )
})

test('a token service of the same domain gets the credential', async () => {
  const authority = await makeTestAuthority()
  await using dir = await tempDir()
  await writeFile(join(dir.path, 'ca.pem'), authority.certificate)
  const certificate = await authority.issue('reg.corp.example', 'auth.corp.example')
  const login = JSON.stringify({
    auths: { 'reg.corp.example': { auth: Buffer.from('bob:canary-password').toString('base64') } },
  })
  await using server = await UpstreamServer.open({
    certificate,
    access: { scheme: 'bearer', ...ACCOUNT },
  })
  await writeFile(
    join(dir.path, 'config.json'),
    login.replace('reg.corp.example', `reg.corp.example:${server.port}`),
  )
  server.access = {
    scheme: 'bearer',
    ...ACCOUNT,
    realm: `https://auth.corp.example:${server.port}/token`,
  }
  await using upstream = await openUpstream({
    caFile: join(dir.path, 'ca.pem'),
    dockerConfigFile: join(dir.path, 'config.json'),
    times: QUICK_TIMES,
    ...world({ 'reg.corp.example': PUBLIC, 'auth.corp.example': PUBLIC }),
  })
  const repository = { registry: `reg.corp.example:${server.port}`, repository: 'team/app' }
  assert.equal(await upstream.resolve(repository, '1', askAs(NODE)), undefined)
  const shown = server.requests.filter(
    ({ headers }) => headers.authorization?.startsWith('Basic') === true,
  )
  assert.deepEqual(
    shown.map(({ headers, url }) => [headers.host, url.split('?')[0]]),
    [[`auth.corp.example:${server.port}`, '/token']],
  )
})

test('a token service that redirects to another host does not pass the credential on', async () => {
  await using other = await UpstreamServer.open()
  await using t = await openUpstreamFixture({
    server: { access: { scheme: 'bearer', ...ACCOUNT } },
    upstream: (host) => ({ insecureHosts: [host, other.host], times: QUICK_TIMES }),
  })
  t.server.hook = ({ url }, response) => {
    if (!url.startsWith('/token')) return false
    response.writeHead(307, { location: `http://${other.host}${url}` }).end()
    return true
  }
  assert.equal(
    await codeOf(t.upstream.resolve(t.repository, '1', askAs(CLIENT))),
    'UPSTREAM_DENIED',
  )
  assert.ok(other.requests.length > 0)
  assert.ok(other.requests.every(({ headers }) => headers.authorization === undefined))
})

for (const answer of [
  '{"token":"two\\nlines"}',
  '{"token":""}',
  '{"token":7}',
  '{}',
  '[]',
  'token',
]) {
  test(`a token service that answers ${answer} is faulty`, async () => {
    await using t = await openUpstreamFixture({
      server: { access: { scheme: 'bearer', ...ACCOUNT } },
    })
    t.server.hook = ({ url }, response) => {
      if (!url.startsWith('/token')) return false
      response.end(answer)
      return true
    }
    await assert.rejects(t.upstream.resolve(t.repository, '1', askAs(CLIENT)), {
      code: 'UPSTREAM_FAULTY',
      message: `registry ${t.server.host}: its token service answers without a usable token`,
    })
  })
}

test('a token service that fails is unreachable, and one that is busy is known to be', async () => {
  await using t = await openUpstreamFixture({
    server: { access: { scheme: 'bearer', ...ACCOUNT } },
  })
  for (const [status, reason] of [
    [500, 'server'],
    [429, 'busy'],
  ] as const) {
    t.server.hook = ({ url }, response) => {
      if (!url.startsWith('/token')) return false
      response.writeHead(status, { 'retry-after': '60' }).end()
      return true
    }
    const asked = t.upstream.resolve(t.repository, '1', askAs())
    await assert.rejects(asked, (thrown) => {
      assert.ok(isOperationError(thrown, 'UPSTREAM_UNREACHABLE'))
      assert.equal(thrown.details['reason'], reason)
      return true
    })
  }
})
