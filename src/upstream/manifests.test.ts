import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf, type Digest } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { askAs, openUpstreamFixture, type UpstreamFixture } from '../testing/upstream-fixture.ts'
import { imageManifest } from '../testing/upstream-server.ts'

const ABSENT = digestOf('absent')

interface Answer {
  readonly status?: number
  readonly headers?: Record<string, string | number | undefined>
  readonly body?: Buffer | string
}

/** Changes what the registry answers to a manifest request. */
function answerWith(
  t: UpstreamFixture,
  change: (answer: Required<Answer>, method: string) => Answer,
): void {
  t.server.hook = ({ method, url }, response) => {
    if (!url.includes('/manifests/')) return false
    const usual = {
      status: 200,
      headers: {
        'content-type': MEDIA_TYPES.ociManifest,
        'docker-content-digest': t.manifestDigest,
        'content-length': t.manifest.length,
      },
      body: t.manifest,
    }
    const { status, headers, body } = { ...usual, ...change(usual, method) }
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) response.setHeader(name, value)
    }
    response.writeHead(status).end(method === 'HEAD' ? undefined : body)
    return true
  }
}

test('a tag is resolved by one HEAD that accepts every kind of manifest', async () => {
  await using t = await openUpstreamFixture()
  assert.deepEqual(await t.upstream.resolve(t.repository, '1', askAs()), {
    digest: t.manifestDigest,
    mediaType: MEDIA_TYPES.ociManifest,
    size: t.manifest.length,
    access: 'public',
  })
  const [request] = t.server.requests
  assert.equal(request?.method, 'HEAD')
  assert.equal(
    request.headers.accept,
    'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ' +
      'application/vnd.docker.distribution.manifest.list.v2+json, ' +
      'application/vnd.docker.distribution.manifest.v2+json',
  )
  assert.equal(request.headers['accept-encoding'], 'identity')
  assert.match(request.headers['user-agent'] ?? '', /^ddocker\/\d/)
  assert.equal(t.server.requests.length, 1)
})

const SHORT_HEADS: readonly [string, (answer: Required<Answer>) => Answer][] = [
  [
    'without a digest',
    ({ headers }) => ({ headers: { ...headers, 'docker-content-digest': undefined } }),
  ],
  [
    'with a digest of another kind',
    ({ headers }) => ({
      headers: { ...headers, 'docker-content-digest': `sha512:${'0'.repeat(128)}` },
    }),
  ],
  ['without a type', ({ headers }) => ({ headers: { ...headers, 'content-type': undefined } })],
  [
    'with a type that says nothing',
    ({ headers }) => ({ headers: { ...headers, 'content-type': 'application/json' } }),
  ],
  ['without a length', ({ headers }) => ({ headers: { ...headers, 'content-length': 0 } })],
  ['with 405', ({ headers }) => ({ status: 405, headers })],
]

for (const [what, change] of SHORT_HEADS) {
  test(`a HEAD ${what} is followed by a GET`, async () => {
    await using t = await openUpstreamFixture()
    answerWith(t, (answer, method) => (method === 'HEAD' ? change(answer) : answer))
    assert.deepEqual(await t.upstream.resolve(t.repository, '1', askAs()), {
      digest: t.manifestDigest,
      mediaType: MEDIA_TYPES.ociManifest,
      size: t.manifest.length,
      access: 'public',
    })
    assert.deepEqual(
      t.server.requests.map(({ method }) => method),
      ['HEAD', 'GET'],
    )
  })
}

test('a manifest is given as it came, and its type without parameters', async () => {
  await using t = await openUpstreamFixture()
  answerWith(t, ({ headers }) => ({
    headers: { ...headers, 'content-type': `${MEDIA_TYPES.ociManifest}; charset=utf-8` },
  }))
  const found = await t.upstream.manifest(t.repository, t.manifestDigest, askAs())
  assert.deepEqual(found, {
    digest: t.manifestDigest,
    mediaType: MEDIA_TYPES.ociManifest,
    bytes: t.manifest,
    access: 'public',
  })
})

test('a manifest whose type the registry does not know has the type that it says itself', async () => {
  await using t = await openUpstreamFixture()
  answerWith(t, ({ headers }) => ({
    headers: { ...headers, 'content-type': 'application/octet-stream' },
  }))
  const found = await t.upstream.manifest(t.repository, t.manifestDigest, askAs())
  assert.equal(found?.mediaType, MEDIA_TYPES.ociManifest)
})

const OTHER_MANIFEST = imageManifest(Buffer.from('{}'), Buffer.from('other'))
const OTHER = Buffer.from('{"schemaVersion":2}')
const FAULTS: readonly [string, (answer: Required<Answer>) => Answer][] = [
  [
    'other bytes',
    ({ headers }) => ({ headers: { ...headers, 'content-length': OTHER.length }, body: OTHER }),
  ],
  [
    'other bytes, and no digest in its header',
    () => ({ headers: { 'content-type': MEDIA_TYPES.ociManifest }, body: OTHER_MANIFEST }),
  ],
  ['one bit that flipped', ({ body }) => ({ body: flip(Buffer.from(body)) })],
  [
    'another digest in its header',
    ({ headers }) => ({ headers: { ...headers, 'docker-content-digest': ABSENT } }),
  ],
  [
    'the type of an index',
    ({ headers }) => ({ headers: { ...headers, 'content-type': MEDIA_TYPES.ociIndex } }),
  ],
  [
    'the type of a page',
    ({ headers }) => ({ headers: { ...headers, 'content-type': 'text/html' } }),
  ],
  ['gzip', ({ headers }) => ({ headers: { ...headers, 'content-encoding': 'gzip' } })],
  [
    'a length above the limit',
    ({ headers }) => ({ headers: { ...headers, 'content-length': MAX_MANIFEST_BYTES + 1 } }),
  ],
  [
    'more than the limit, without a length',
    ({ headers }) => ({
      headers: { ...headers, 'content-length': undefined },
      body: Buffer.alloc(MAX_MANIFEST_BYTES + 1),
    }),
  ],
  ['400', () => ({ status: 400 })],
  ['405', () => ({ status: 405 })],
  ['304', () => ({ status: 304, headers: {} })],
]

for (const [what, change] of FAULTS) {
  test(`a manifest with ${what} is refused`, async () => {
    await using t = await openUpstreamFixture()
    answerWith(t, change)
    await assert.rejects(t.upstream.manifest(t.repository, t.manifestDigest, askAs()), {
      code: 'UPSTREAM_FAULTY',
    })
    assert.equal(t.server.requests.length, 1)
  })
}

test('a manifest without an end is cut', async () => {
  await using t = await openUpstreamFixture()
  const closed = Promise.withResolvers<void>()
  let sent = 0
  const part = Buffer.alloc(64 * 1024, ' ')
  t.server.hook = (_, response) => {
    response.on('close', () => closed.resolve())
    const send = () => {
      sent += part.length
      if (response.write(part)) setImmediate(send)
      else response.once('drain', send)
    }
    send()
    return true
  }
  await assert.rejects(t.upstream.manifest(t.repository, t.manifestDigest, askAs()), {
    code: 'UPSTREAM_FAULTY',
  })
  await closed.promise
  assert.ok(sent < 4 * MAX_MANIFEST_BYTES)
})

test('bytes that are no manifest are refused, though their digest is right', async () => {
  await using t = await openUpstreamFixture()
  for (const body of [
    '<html></html>',
    '{"schemaVersion":1}',
    '{"schemaVersion":2,"layers":[],"manifests":[]}',
  ]) {
    const headers = { 'content-type': 'application/json' }
    answerWith(t, () => ({ headers, body }))
    await assert.rejects(t.upstream.manifest(t.repository, digestOf(body), askAs()), {
      code: 'UPSTREAM_FAULTY',
    })
  }
})

test('a manifest that breaks off is asked for again', async () => {
  await using t = await openUpstreamFixture()
  let tries = 0
  t.server.hook = ({ method }, response) => {
    tries += 1
    if (method !== 'GET' || tries === 3) return false
    response.writeHead(200, { 'content-length': t.manifest.length })
    response.write(t.manifest.subarray(0, 50), () => response.destroy())
    return true
  }
  const found = await t.upstream.manifest(t.repository, t.manifestDigest, askAs())
  assert.deepEqual(found?.bytes, t.manifest)
  assert.equal(tries, 3)
})

test('what is not there is undefined', async () => {
  await using t = await openUpstreamFixture()
  const nowhere = { ...t.repository, repository: 'team/other' }
  assert.equal(await t.upstream.resolve(t.repository, '2', askAs()), undefined)
  assert.equal(await t.upstream.manifest(t.repository, ABSENT, askAs()), undefined)
  assert.equal(
    await t.upstream.has(t.repository, { kind: 'blob', digest: ABSENT }, askAs()),
    undefined,
  )
  assert.equal(
    await t.upstream.has(t.repository, { kind: 'manifest', digest: ABSENT }, askAs()),
    undefined,
  )
  assert.equal(await t.upstream.blob(t.repository, { digest: ABSENT }, askAs()), undefined)
  assert.equal(await t.upstream.referrers(nowhere, ABSENT, askAs()), undefined)
})

test('has tells what is there, and notices another digest', async () => {
  await using t = await openUpstreamFixture()
  const content = { kind: 'manifest', digest: t.manifestDigest } as const
  assert.equal(await t.upstream.has(t.repository, content, askAs()), 'public')
  const blob = { kind: 'blob', digest: t.layerDigest } as const
  assert.equal(await t.upstream.has(t.repository, blob, askAs()), 'public')
  assert.ok(t.server.requests.every(({ method }) => method === 'HEAD'))
  answerWith(t, ({ headers }) => ({ headers: { ...headers, 'docker-content-digest': ABSENT } }))
  await assert.rejects(t.upstream.has(t.repository, content, askAs()), { code: 'UPSTREAM_FAULTY' })
})

test('names that are none never reach a registry', async () => {
  await using t = await openUpstreamFixture()
  const other = (repository: string) => ({ ...t.repository, repository })
  const wrong = [other('../x'), other('a/../../token'), other('A'), other('a?b'), other('')]
  for (const repository of wrong) {
    await assert.rejects(t.upstream.resolve(repository, '1', askAs()), {
      code: 'REFERENCE_INVALID',
    })
  }
  await assert.rejects(t.upstream.resolve(t.repository, 'a/b', askAs()), {
    code: 'REFERENCE_INVALID',
  })
  await assert.rejects(t.upstream.manifest(t.repository, 'sha256:../x' as Digest, askAs()), {
    code: 'DIGEST_INVALID',
  })
  for (const registry of ['a b', 'user@host', 'host/path', 'host?x', '', 'host:99999999']) {
    await assert.rejects(t.upstream.resolve({ ...t.repository, registry }, '1', askAs()), {
      code: 'UPSTREAM_ADDRESS_REFUSED',
    })
  }
  assert.equal(t.server.requests.length, 0)
})

test('all tags are listed, page after page', async () => {
  await using t = await openUpstreamFixture()
  const tags = Array.from({ length: 2500 }, (_, index) => `t${String(index).padStart(4, '0')}`)
  for (const tag of tags) t.server.putManifest('team/many', t.manifest, { tag })
  const found = await t.upstream.tags({ ...t.repository, repository: 'team/many' }, askAs())
  assert.deepEqual(found, { tags, access: 'public' })
  assert.equal(t.server.count('/tags/list'), 3)
})

const LINKS: readonly [string, string][] = [
  ['at another host', '<https://evil.example/v2/team/app/tags/list?last=1>; rel="next"'],
  ['at another place', '</token?last=1>; rel="next"'],
  ['in a circle', '</v2/team/app/tags/list?n=1000>; rel="next"'],
]

for (const [what, link] of LINKS) {
  test(`a next page of tags ${what} is refused`, async () => {
    await using t = await openUpstreamFixture()
    t.server.hook = (_, response) => {
      response.writeHead(200, { link }).end('{"tags":["1"]}')
      return true
    }
    await assert.rejects(t.upstream.tags(t.repository, askAs()), { code: 'UPSTREAM_FAULTY' })
    assert.equal(t.server.requests.length, 1)
  })
}

test('pages of tags without an end are cut at 100,000 tags', async () => {
  await using t = await openUpstreamFixture()
  let page = 0
  const tags = Array.from({ length: 30_000 }, (_, index) => `t${index}`)
  t.server.hook = (_, response) => {
    page += 1
    response.setHeader('link', `</v2/team/app/tags/list?n=1000&last=${page}>; rel="next"`)
    response.end(JSON.stringify({ tags }))
    return true
  }
  const found = await t.upstream.tags(t.repository, askAs())
  assert.equal(found?.tags.length, 100_000)
  assert.equal(page, 4)
})

test('a list without tags is empty, what is no tag is left out, and what is no list is refused', async () => {
  await using t = await openUpstreamFixture()
  let body = '{"name":"team/app","tags":null}'
  t.server.hook = (_, response) => {
    response.end(body)
    return true
  }
  assert.deepEqual((await t.upstream.tags(t.repository, askAs()))?.tags, [])
  body = '{"tags":["1","a/b",7,"2"]}'
  assert.deepEqual((await t.upstream.tags(t.repository, askAs()))?.tags, ['1', '2'])
  for (body of ['{"tags":{}}', '[]', '<html>']) {
    await assert.rejects(t.upstream.tags(t.repository, askAs()), { code: 'UPSTREAM_FAULTY' })
  }
})

test('referrers come as the registry wrote them, with a word on the filter', async () => {
  await using t = await openUpstreamFixture()
  const index = `{"schemaVersion":2, "mediaType":"${MEDIA_TYPES.ociIndex}","manifests":[]}`
  t.server.hook = ({ url }, response) => {
    if (url.includes('artifactType')) response.setHeader('oci-filters-applied', 'artifactType')
    response.setHeader('content-type', MEDIA_TYPES.ociIndex)
    response.end(index)
    return true
  }
  assert.deepEqual(await t.upstream.referrers(t.repository, t.manifestDigest, askAs()), {
    bytes: Buffer.from(index),
    isFiltered: false,
    access: 'public',
  })
  const artifactType = 'application/x+json&n=1'
  const filtered = await t.upstream.referrers(t.repository, t.manifestDigest, {
    ...askAs(),
    artifactType,
  })
  assert.equal(filtered?.isFiltered, true)
  const query = `?artifactType=application%2Fx%2Bjson%26n%3D1`
  assert.equal(t.server.requests.at(-1)?.url, `/v2/team/app/referrers/${t.manifestDigest}${query}`)
})

test('referrers that are no image index are refused', async () => {
  await using t = await openUpstreamFixture()
  t.server.hook = (_, response) => {
    response.end(t.manifest)
    return true
  }
  await assert.rejects(t.upstream.referrers(t.repository, t.manifestDigest, askAs()), {
    code: 'UPSTREAM_FAULTY',
  })
})

function flip(bytes: Buffer): Buffer {
  bytes[20] = (bytes[20] ?? 0) ^ 1
  return bytes
}
