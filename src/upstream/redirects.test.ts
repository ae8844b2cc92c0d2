import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  ACCOUNT,
  CLIENT,
  PUBLIC,
  PRIVATE,
  codeOf,
  redirectBlobs,
  askForLayer,
  openNamedRegistry,
} from '../testing/named-registry.ts'
import { askAs, collect, openUpstreamFixture, QUICK_TIMES } from '../testing/upstream-fixture.ts'
import { UpstreamServer, type SeenRequest } from '../testing/upstream-server.ts'

test('a redirect to another registry brings the blob, without the credential', async () => {
  await using cdn = await UpstreamServer.open()
  await using t = await openUpstreamFixture({
    server: { access: { scheme: 'basic', ...ACCOUNT } },
    upstream: (host) => ({ insecureHosts: [host], localHosts: [cdn.host], times: QUICK_TIMES }),
  })
  cdn.putBlob(t.layer)
  t.server.hook = ({ headers, url }, response) => {
    if (headers.authorization === undefined || !url.includes('/blobs/')) return false
    response.writeHead(307, { location: `http://${cdn.host}${url}?signature=canary` }).end()
    return true
  }
  const content = { digest: t.layerDigest, size: t.layer.length, start: 1000 }
  const blob = await t.upstream.blob(t.repository, content, askAs(CLIENT))
  assert.equal(blob?.access, 'private')
  assert.deepEqual(await collect(blob.content), t.layer.subarray(1000))
  const [request] = cdn.requests
  assert.equal(request?.headers.authorization, undefined)
  assert.equal(request?.headers.range, 'bytes=1000-')
  assert.match(request.url, /signature=canary/)
})

test('a redirect within the registry keeps the credential', async () => {
  await using t = await openUpstreamFixture({ server: { access: { scheme: 'basic', ...ACCOUNT } } })
  t.server.hook = ({ headers, url }, response) => {
    if (headers.authorization === undefined || !url.endsWith(t.layerDigest)) return false
    response.writeHead(302, { location: `${url}?again` }).end()
    return true
  }
  const blob = await askForLayer(t, CLIENT)
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer)
})

for (const [what, location] of [
  ['to itself', (request: SeenRequest) => request.url],
  [
    'in a circle of two',
    ({ url }: SeenRequest) =>
      url.includes('?a') ? url.replace('?a', '?b') : `${url.split('?')[0]}?a`,
  ],
  ['on and on', ({ url }: SeenRequest) => `${url}x`],
  ['to a file', () => 'file:///etc/passwd'],
  ['to nowhere', () => 'http://'],
] as const) {
  test(`a redirect ${what} is faulty`, async () => {
    await using t = await openUpstreamFixture()
    redirectBlobs(t, location)
    assert.equal(await codeOf(askForLayer(t)), 'UPSTREAM_FAULTY')
    assert.ok(t.server.requests.length <= 6, `${t.server.requests.length} requests`)
  })
}

for (const location of [
  'http://127.0.0.1:1/x',
  'https://localhost/x',
  'http://[::1]:1/x',
  'http://169.254.169.254/latest/meta-data/',
  'https://metadata.google.internal/x',
  'http://0/x',
]) {
  test(`a redirect to ${location} is refused`, async () => {
    await using t = await openUpstreamFixture()
    redirectBlobs(t, location)
    assert.equal(await codeOf(askForLayer(t)), 'UPSTREAM_ADDRESS_REFUSED')
  })
}

test('a redirect of a named registry does not open another port of this host', async () => {
  await using inner = await UpstreamServer.open()
  await using t = await openUpstreamFixture()
  redirectBlobs(t, `http://${inner.host}/x`)
  assert.equal(await codeOf(askForLayer(t)), 'UPSTREAM_ADDRESS_REFUSED')
  assert.equal(inner.connectionCount, 0)
})

test('a redirect from https to http is refused', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC })
  redirectBlobs(t, `http://cdn.example:${t.port}/x`)
  assert.equal(await codeOf(askForLayer(t)), 'UPSTREAM_FAULTY')
})

for (const [reg, cdn, expected] of [
  [PUBLIC, PUBLIC, 'none'],
  [PUBLIC, PRIVATE, 'UPSTREAM_ADDRESS_REFUSED'],
  [PRIVATE, PRIVATE, 'none'],
  [PRIVATE, PUBLIC, 'none'],
] as const) {
  test(`a redirect from ${reg} to ${cdn}: ${expected}`, async () => {
    await using t = await openNamedRegistry({ reg, cdn })
    t.server.hook = ({ headers, url }, response) => {
      if (headers.host?.startsWith('reg.') !== true || !url.includes('/blobs/')) return false
      response.writeHead(307, { location: `https://cdn.example:${t.port}${url}` }).end()
      return true
    }
    const asked = async () => collect((await askForLayer(t))?.content ?? assert.fail('no blob'))
    assert.equal(await codeOf(asked()), expected)
  })
}

test('what was public once stays so, by way of a host that was named', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC, cdn: PRIVATE, named: 'cdn.example' })
  t.server.hook = ({ headers, url }, response) => {
    if (!url.includes('/blobs/')) return false
    const next = headers.host?.startsWith('reg.') === true ? 'cdn.example' : 'other.test'
    response.writeHead(307, { location: `https://${next}:${t.port}${url}` }).end()
    return true
  }
  assert.equal(await codeOf(askForLayer(t)), 'UPSTREAM_ADDRESS_REFUSED')
  const hosts = t.server.requests.map(({ headers }) => headers.host?.split(':')[0])
  assert.deepEqual(hosts, ['reg.example', 'cdn.example'])
})

test('a public hop on the way closes the way back into a private network', async () => {
  await using t = await openNamedRegistry({ reg: PRIVATE, cdn: PUBLIC })
  t.server.hook = ({ headers, url }, response) => {
    if (!url.includes('/blobs/')) return false
    const next = headers.host?.startsWith('reg.') === true && !url.includes('?') ? 'cdn' : 'reg'
    response.writeHead(307, { location: `https://${next}.example:${t.port}${url}?x` }).end()
    return true
  }
  assert.equal(await codeOf(askForLayer(t)), 'UPSTREAM_ADDRESS_REFUSED')
})
