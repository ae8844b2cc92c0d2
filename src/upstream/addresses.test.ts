import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { makeTestAuthority } from '../testing/lab/test-authority.ts'
import { tempDir } from '../testing/temp-dir.ts'
import {
  askAs,
  collect,
  NODE,
  openUpstreamFixture,
  QUICK_TIMES,
  type UpstreamFixture,
} from '../testing/upstream-fixture.ts'
import { basic, UpstreamServer, type SeenRequest } from '../testing/upstream-server.ts'
import { openUpstream, type UpstreamOptions } from './open-upstream.ts'

const ACCOUNT = { username: 'bob', password: 'canary-password' }
const CLIENT = { kind: 'client', authorization: basic(ACCOUNT) } as const
const PUBLIC = '1.2.3.4'
const PRIVATE = '10.1.2.3'

/** A world of names: what they mean, while everything is dialled at 127.0.0.1. */
function world(
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

async function codeOf(work: Promise<unknown>): Promise<string> {
  const thrown: unknown = await work.then(
    () => 'none',
    (error: unknown) => error,
  )
  return isOperationError(thrown) ? thrown.code : String(thrown)
}

/** Redirects the requests for blobs. */
function redirect(
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

const blobOf = (t: UpstreamFixture, identity = askAs().identity) =>
  t.upstream.blob(t.repository, { digest: t.layerDigest, size: t.layer.length }, askAs(identity))

const LOCAL_NAMES = [
  '127.0.0.1:1',
  '127.1:1',
  '0x7f.1:1',
  '2130706433:1',
  '0.0.0.0:1',
  '[::1]:1',
  '[::]:1',
  '[::ffff:127.0.0.1]:1',
  '[::ffff:a9fe:a9fe]',
  '[fe80::1]',
  '[ff02::1]',
  '169.254.169.254',
  '169.254.1.1:5000',
  '224.0.0.1',
  'localhost:1',
  'metadata.google.internal',
  'METADATA.google.internal.',
  'metadata',
]

for (const registry of LOCAL_NAMES) {
  test(`a registry at ${registry} is refused`, async () => {
    await using upstream = await openUpstream({ times: QUICK_TIMES })
    const asked = upstream.resolve({ registry, repository: 'team/app' }, '1', askAs())
    assert.equal(await codeOf(asked), 'UPSTREAM_ADDRESS_REFUSED')
  })
}

for (const address of [
  '127.0.0.1',
  '::1',
  '169.254.169.254',
  '::ffff:127.0.0.1',
  '0.0.0.0',
  'fe80::1',
]) {
  test(`a name that means ${address} is refused`, async () => {
    await using server = await UpstreamServer.open()
    const upstream = await openUpstream({
      times: QUICK_TIMES,
      ...world({ 'evil.example': address }),
    })
    const registry = `evil.example:${server.port}`
    const asked = upstream.resolve({ registry, repository: 'team/app' }, '1', askAs())
    assert.equal(await codeOf(asked), 'UPSTREAM_ADDRESS_REFUSED')
    assert.equal(server.connectionCount, 0)
    await upstream[Symbol.asyncDispose]()
  })
}

test('a name is dialled at the addresses that were checked, and at no other', async () => {
  const dialled: string[] = []
  let lookups = 0
  await using server = await UpstreamServer.open()
  const registry = `reg.example:${server.port}`
  await using upstream = await openUpstream({
    insecureHosts: [],
    times: QUICK_TIMES,
    lookup: async () => {
      lookups += 1
      return [
        { address: '127.0.0.1', family: 4 },
        { address: PUBLIC, family: 4 },
      ]
    },
    dial: (address) => {
      dialled.push(address)
      return '127.0.0.1'
    },
  })
  // TLS fails: the server speaks plain HTTP
  assert.equal(
    await codeOf(upstream.resolve({ registry, repository: 'a' }, '1', askAs())),
    'UPSTREAM_UNREACHABLE',
  )
  assert.deepEqual(dialled, [PUBLIC])
  assert.equal(lookups, 1)
})

test('a registry at a private address may be asked', async () => {
  await using t = await openNamed({ reg: PRIVATE })
  assert.ok(await t.upstream.resolve(t.repository, '1', askAs()))
})

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
  const blob = await blobOf(t, CLIENT)
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
    redirect(t, location)
    assert.equal(await codeOf(blobOf(t)), 'UPSTREAM_FAULTY')
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
    redirect(t, location)
    assert.equal(await codeOf(blobOf(t)), 'UPSTREAM_ADDRESS_REFUSED')
  })
}

test('a redirect of a named registry does not open another port of this host', async () => {
  await using inner = await UpstreamServer.open()
  await using t = await openUpstreamFixture()
  redirect(t, `http://${inner.host}/x`)
  assert.equal(await codeOf(blobOf(t)), 'UPSTREAM_ADDRESS_REFUSED')
  assert.equal(inner.connectionCount, 0)
})

interface NamedOptions {
  /** what `reg.example` and `cdn.example` mean */
  readonly reg: string
  readonly cdn?: string
  readonly isTrusting?: boolean
  readonly issuedFor?: string
  /** by the owner of the node, with the port of the server */
  readonly named?: string
}

/** A registry with a name and TLS, seemingly at any address; the same server is `cdn.example`. */
async function openNamed({
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

test('a registry whose authority was named is trusted', async () => {
  await using t = await openNamed({ reg: PUBLIC })
  const found = await t.upstream.resolve(t.repository, '1', askAs())
  assert.equal(found?.digest, t.manifestDigest)
})

test('a registry that nobody vouches for is not asked, and not tried again', async () => {
  await using t = await openNamed({ reg: PUBLIC, isTrusting: false })
  const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED']
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  try {
    await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
      code: 'UPSTREAM_UNREACHABLE',
      details: {
        host: t.repository.registry,
        reason: 'tls',
        systemCode: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      },
    })
  } finally {
    if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before
  }
  assert.equal(t.server.connectionCount, 1)
  assert.equal(t.server.requests.length, 0)
})

test('a certificate for another name is not enough', async () => {
  await using t = await openNamed({ reg: PUBLIC, issuedFor: 'another.example' })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
    code: 'UPSTREAM_UNREACHABLE',
    details: {
      host: t.repository.registry,
      reason: 'tls',
      systemCode: 'ERR_TLS_CERT_ALTNAME_INVALID',
    },
  })
})

test('a redirect from https to http is refused', async () => {
  await using t = await openNamed({ reg: PUBLIC })
  redirect(t, `http://cdn.example:${t.port}/x`)
  assert.equal(await codeOf(blobOf(t)), 'UPSTREAM_FAULTY')
})

for (const [reg, cdn, expected] of [
  [PUBLIC, PUBLIC, 'none'],
  [PUBLIC, PRIVATE, 'UPSTREAM_ADDRESS_REFUSED'],
  [PRIVATE, PRIVATE, 'none'],
  [PRIVATE, PUBLIC, 'none'],
] as const) {
  test(`a redirect from ${reg} to ${cdn}: ${expected}`, async () => {
    await using t = await openNamed({ reg, cdn })
    t.server.hook = ({ headers, url }, response) => {
      if (headers.host?.startsWith('reg.') !== true || !url.includes('/blobs/')) return false
      response.writeHead(307, { location: `https://cdn.example:${t.port}${url}` }).end()
      return true
    }
    const asked = async () => collect((await blobOf(t))?.content ?? assert.fail('no blob'))
    assert.equal(await codeOf(asked()), expected)
  })
}

test('what was public once stays so, by way of a host that was named', async () => {
  await using t = await openNamed({ reg: PUBLIC, cdn: PRIVATE, named: 'cdn.example' })
  t.server.hook = ({ headers, url }, response) => {
    if (!url.includes('/blobs/')) return false
    const next = headers.host?.startsWith('reg.') === true ? 'cdn.example' : 'other.test'
    response.writeHead(307, { location: `https://${next}:${t.port}${url}` }).end()
    return true
  }
  assert.equal(await codeOf(blobOf(t)), 'UPSTREAM_ADDRESS_REFUSED')
  const hosts = t.server.requests.map(({ headers }) => headers.host?.split(':')[0])
  assert.deepEqual(hosts, ['reg.example', 'cdn.example'])
})

test('a public hop on the way closes the way back into a private network', async () => {
  await using t = await openNamed({ reg: PRIVATE, cdn: PUBLIC })
  t.server.hook = ({ headers, url }, response) => {
    if (!url.includes('/blobs/')) return false
    const next = headers.host?.startsWith('reg.') === true && !url.includes('?') ? 'cdn' : 'reg'
    response.writeHead(307, { location: `https://${next}.example:${t.port}${url}?x` }).end()
    return true
  }
  assert.equal(await codeOf(blobOf(t)), 'UPSTREAM_ADDRESS_REFUSED')
})

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
  await using t = await openNamed({ reg: PUBLIC, cdn: PRIVATE })
  challenge(t, `https://cdn.example:${t.port}/token`)
  assert.equal(
    await codeOf(t.upstream.resolve(t.repository, '1', askAs(CLIENT))),
    'UPSTREAM_ADDRESS_REFUSED',
  )
  assert.ok(t.server.requests.every(({ url }) => !url.startsWith('/token')))
})

test('a token service of another domain is asked without the credential', async () => {
  await using t = await openNamed({ reg: PUBLIC })
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

test('no failure tells a secret: not a password, not a token, not the query of a signed URL', async () => {
  const failures: unknown[] = []
  const keep = async (work: Promise<unknown>) => {
    failures.push(
      await work.then(
        () => assert.fail('it succeeded'),
        (thrown: unknown) => thrown,
      ),
    )
  }
  for (const location of [
    'https://user:canary@127.0.0.1:1/canary?signature=canary',
    'http://canary.invalid/canary?signature=canary'.replace('canary.', 'cdn.'),
    'file:///canary',
    '/v2/team/app/blobs/x?canary',
  ]) {
    await using t = await openUpstreamFixture({
      upstream: (host) => ({ insecureHosts: [host], times: QUICK_TIMES, ...world({}) }),
    })
    redirect(t, location)
    await keep(blobOf(t, CLIENT))
  }
  await using t = await openUpstreamFixture({
    server: { access: { scheme: 'bearer', ...ACCOUNT } },
  })
  for (const token of ['{"token":"canary\\n"}', '{"canary":1}', 'canary', '{"token":7}']) {
    t.server.hook = ({ url }, response) => {
      if (!url.startsWith('/token')) return false
      response.end(token)
      return true
    }
    await keep(t.upstream.resolve(t.repository, '1', askAs(CLIENT)))
  }
  assert.equal(failures.length, 8)
  for (const failure of failures) {
    assert.ok(isOperationError(failure), String(failure))
    const told = `${failure.message} ${failure.stack} ${JSON.stringify(failure)} ${String(failure.cause)}`
    assert.doesNotMatch(told, /canary|Ym9i/)
  }
})

test('a file of authorities that is none is told at once', async () => {
  await using dir = await tempDir()
  const caFile = join(dir.path, 'ca.pem')
  await assert.rejects(openUpstream({ caFile }), { code: 'CONFIG_INVALID' })
  await writeFile(caFile, 'no certificate')
  await assert.rejects(openUpstream({ caFile }), { code: 'CONFIG_INVALID' })
})
