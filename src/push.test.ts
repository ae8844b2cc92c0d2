import assert from 'node:assert/strict'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf } from './oci/digest.ts'
import { MEDIA_TYPES } from './oci/media-types.ts'
import { ConformanceClient, randomBlob, withDigest } from './testing/conformance-client.ts'
import { TestContent } from './testing/conformance-data.ts'
import { RawHttp } from './testing/raw-http.ts'
import { openTestnet, type TestNode } from './testing/testnet.ts'

const client = (node: TestNode, repository: string) =>
  new ConformanceClient(`http://${node.node.ready.registry}`, repository)

const stored = async ({ dataDir }: TestNode, digest: string): Promise<boolean> => {
  const names = await readdir(join(dataDir, 'blobs'), { recursive: true })
  return names.some((name) => name.endsWith(digest.slice('sha256:'.length)))
}

const code = (answer: { bytes: Buffer }): string =>
  JSON.parse(answer.bytes.toString()).errors[0].code

/** An image of one tag, `1`. */
function image(): { content: TestContent; digest: string } {
  const content = new TestContent()
  return { content, digest: content.image({ tag: '1' }).digest }
}

for (const [pushed, pulled] of [
  ['local/app', 'local/app'],
  ['team/app', 'local/team/app'],
  ['localhost__5000/team/app', 'localhost__5000/team/app'],
  ['node/one/app', 'node/one/app'],
] as const) {
  test(`another node has what was pushed as ${pushed} as soon as the push is done`, async () => {
    await using testnet = await openTestnet()
    const [one, two] = [await testnet.start('one'), await testnet.start('two')]
    for (const tag of ['first', 'second']) {
      const content = new TestContent()
      content.image({ tag })
      await client(one, pushed).push(content)
      await client(two, pulled).read(content)
    }
  })
}

test('the newest push decides what a tag means, at once and on every node', async () => {
  await using testnet = await openTestnet()
  const [one, two] = [await testnet.start('one'), await testnet.start('two')]
  const [first, second, third] = [image(), image(), image()]
  const [here, there] = [client(one, 'local/app'), client(two, 'local/app')]
  await here.push(first.content)
  await here.read(first.content)
  await here.push(second.content)
  await here.read(second.content)
  await there.push(third.content)
  await there.read(third.content)
  await there.deleteManifest('1')
  assert.deepEqual(await here.tags(), ['1'])
  assert.deepEqual(await there.tags(), [])
})

test('what was pushed, and deleted, is so after a restart, and without the catalog', async () => {
  await using testnet = await openTestnet()
  let node = await testnet.start('node')
  const content = new TestContent()
  const subject = content.image({ tag: 'kept' })
  content.image({ tag: 'signature', subject, annotations: { a: 'b' } })
  const [deleted, gone] = [image(), randomBlob(content)]
  await client(node, 'local/app').push(content)
  await client(node, 'local/app').push(deleted.content)
  await client(node, 'local/app').pushBlob('post only', gone)
  await client(node, 'local/app').deleteManifest(deleted.digest)
  await client(node, 'local/app').deleteBlob(gone.digest)
  await node.stop()

  node = await testnet.start('node')
  const restarted = client(node, 'local/app')
  await restarted.read(content)
  await restarted.listReferrers(content)
  assert.deepEqual(await restarted.tags(), ['kept', 'signature'])
  await restarted.expect(404, 'GET', restarted.path(`manifests/${deleted.digest}`))
  await restarted.expect(404, 'GET', restarted.path('manifests/1'))
  await restarted.expect(404, 'GET', restarted.path(`blobs/${gone.digest}`))
  await node.stop()

  await rm(join(node.dataDir, 'catalog'), { recursive: true })
  node = await testnet.start('node')
  await client(node, 'local/app').read(content)
  await client(node, 'local/app').listReferrers(content)
})

test('deletes bytes with the last that needs them, and no sooner', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const [one, two] = [client(node, 'local/one'), client(node, 'local/two')]
  const content = new TestContent()
  const manifest = content.image({ tag: '1' })
  content.index([manifest], { tag: 'all' })
  const [index] = [content.tags.get('all') ?? '']
  await one.push(content)
  await two.push(content)
  const [blob = ''] = content.blobs.keys()

  await one.delete(content)
  for (const digest of [manifest.digest, index, blob]) assert.ok(await stored(node, digest))
  await two.read(content)

  await two.deleteManifest(manifest.digest)
  assert.ok(await stored(node, manifest.digest), 'its image index needs it')
  await two.deleteBlob(blob)
  assert.ok(await stored(node, blob), 'its manifest needs it')
  await two.deleteManifest(index)
  assert.ok(!(await stored(node, index)))
})

test('takes two pushes of one blob at once', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const blob = randomBlob(new TestContent(), 3_000_000)
  await Promise.all(
    (['streamed', 'post only', 'chunked', 'post and put'] as const).map((way, index) =>
      client(node, `local/repo${index}`).pushBlob(way, blob),
    ),
  )
  assert.deepEqual(await readdir(join(node.dataDir, 'tmp')), [])
})

test('lets a client go on where its connection broke', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'local/app')
  const { digest, bytes } = randomBlob(new TestContent(), 200_000)
  const location = await app.beginUpload()
  using connection = await RawHttp.open(Number(node.node.ready.registry.split(':')[1]))
  connection.request('PATCH', location, {
    'Content-Range': '0-199999',
    'Content-Length': '200000',
  })
  connection.send(bytes.subarray(0, 70_000))
  await received(app, location, 70_000)
  connection.socket.destroy()
  await app.expect(201, 'PUT', withDigest(location, digest), {
    body: new Uint8Array(bytes.subarray(70_000)),
    headers: { 'Content-Range': '70000-199999' },
  })
  await app.readBlob(digest, bytes)
})

test('keeps nothing of a blob that was to come in one piece and did not', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'local/app')
  const location = await app.beginUpload()
  using connection = await RawHttp.open(Number(node.node.ready.registry.split(':')[1]))
  connection.request('PUT', withDigest(location, digestOf('x')), { 'Content-Length': '200000' })
  connection.send(Buffer.alloc(70_000))
  await received(app, location, 70_000)
  connection.socket.destroy()
  while ((await app.request('GET', location)).status !== 404);
  assert.deepEqual(await readdir(join(node.dataDir, 'tmp')), [])
})

test('removes at the start what uploads left behind', async () => {
  await using testnet = await openTestnet()
  let node = await testnet.start('node')
  const app = client(node, 'local/app')
  await app.expect(202, 'PATCH', await app.beginUpload(), { body: 'abc' })
  assert.equal((await readdir(join(node.dataDir, 'tmp'))).length, 1)
  await node.stop()
  node = await testnet.start('node')
  assert.deepEqual(await readdir(join(node.dataDir, 'tmp')), [])
})

test('refuses blobs above the bound, told beforehand or found on the way', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node', { maxPushBytes: 1000 })
  const app = client(node, 'local/app')
  const { digest, bytes } = randomBlob(new TestContent(), 1001)
  const body = new Uint8Array(bytes)
  const query = new URLSearchParams({ digest })
  const told = await app.expect(413, 'POST', app.path(`blobs/uploads/?${query.toString()}`), {
    body,
  })
  assert.equal(code(told), 'SIZE_INVALID')
  const location = await app.beginUpload()
  const stream = new Blob([body]).stream()
  const streamed = { body: stream, duplex: 'half' } as RequestInit
  assert.equal(code(await app.expect(413, 'PATCH', location, streamed)), 'SIZE_INVALID')
  await app.expect(404, 'GET', location)
  await app.pushBlob('streamed', randomBlob(new TestContent(), 1000))
  assert.deepEqual(await readdir(join(node.dataDir, 'tmp')), [])
})

test('has room for so many uploads, and for more when some are done', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'local/app')
  const locations = await Promise.all(Array.from({ length: 128 }, () => app.beginUpload()))
  const refused = await app.expect(429, 'POST', app.path('blobs/uploads/'))
  assert.equal(code(refused), 'TOOMANYREQUESTS')
  await app.expect(204, 'DELETE', locations[5] ?? '')
  await app.beginUpload()
})

test('takes no push for what is not its own to name', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  for (const [repository, query] of [
    ['node/other/app', ''],
    ['team/app', '?ns=ghcr.io'],
  ] as const) {
    const app = client(node, repository)
    const { digest } = randomBlob(new TestContent())
    for (const [method, path] of [
      ['POST', 'blobs/uploads/'],
      ['PUT', 'manifests/1'],
      ['DELETE', 'manifests/1'],
      ['DELETE', `blobs/${digest}`],
    ] as const) {
      assert.equal(code(await app.expect(405, method, app.path(path) + query)), 'UNSUPPORTED')
    }
  }
})

test('means what is upstream where a client names that, whatever was pushed under the name', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'ghcr.io/team/app')
  const mirrored = client(node, 'team/app')
  const { content, digest } = image()
  await app.push(content)
  await app.deleteManifest('1')
  const path = mirrored.path(`manifests/${digest}?ns=ghcr.io`)
  await app.deleteManifest(digest)
  await app.push(content)
  await mirrored.expect(200, 'GET', path)
  await mirrored.expect(404, 'GET', mirrored.path(`referrers/${digest}?ns=ghcr.io`))
  await app.expect(200, 'GET', app.path(`referrers/${digest}`))
  const own = `?ns=${node.node.ready.registry}`
  await app.expect(200, 'GET', app.path(`referrers/${digest}`) + own)
  await app.expect(202, 'POST', app.path('blobs/uploads/') + own)
})

test('takes no push from a page in a browser', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'local/app')
  const { registry } = node.node.ready
  for (const headers of [
    { Origin: `http://${registry}` },
    { Origin: 'https://evil.example' },
    { 'Sec-Fetch-Site': 'same-origin' },
  ] as Record<string, string>[]) {
    await app.expect(403, 'POST', app.path('blobs/uploads/'), { headers })
  }
})

test('refuses a manifest that is not what its Content-Type says, or is too large', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'local/app')
  const put = (body: string, type: string, status: number) =>
    app.expect(status, 'PUT', app.path('manifests/1'), { body, headers: { 'Content-Type': type } })
  const empty = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [] }
  const body = JSON.stringify(empty)
  assert.equal(code(await put(body, MEDIA_TYPES.ociManifest, 400)), 'MANIFEST_INVALID')
  assert.equal(code(await put('{}', MEDIA_TYPES.ociIndex, 400)), 'MANIFEST_INVALID')
  assert.equal(code(await put('not JSON', MEDIA_TYPES.ociIndex, 400)), 'MANIFEST_INVALID')
  const annotations = { large: 'x'.repeat(4 * 1024 * 1024) }
  const large = JSON.stringify({ ...empty, annotations })
  assert.equal(code(await put(large, MEDIA_TYPES.ociIndex, 413)), 'SIZE_INVALID')
  await put(body, `${MEDIA_TYPES.ociIndex}; charset=utf-8`, 201)
})

test('brings a blob here that the client left out, since a peer has it', async () => {
  await using testnet = await openTestnet()
  const [one, two] = [await testnet.start('one'), await testnet.start('two')]
  const { content, digest } = image()
  await client(two, 'local/base').push(content)
  await client(one, 'local/app').putManifest(content, { reference: '1', digest })
  for (const blob of content.blobs.keys()) assert.ok(await stored(one, blob))
})

test('lists referrers that a client keeps under the tag that stands in for them', async () => {
  await using testnet = await openTestnet()
  const [one, two] = [await testnet.start('one'), await testnet.start('two')]
  const content = new TestContent()
  const subject = content.image({ tag: 'image' })
  const entry = content.image({ annotations: { a: 'b' } })
  const tag = subject.digest.replace(':', '-')
  content.index([{ ...entry, artifactType: 'a/b' }], { tag })
  await client(one, 'local/app').push(content)
  for (const node of [one, two]) {
    const { manifests } = await client(node, 'local/app').referrers(subject.digest)
    assert.deepEqual(manifests, [{ ...entry, artifactType: 'a/b' }])
  }
})

test('tells every node what refers to a manifest, whichever node it was pushed to', async () => {
  await using testnet = await openTestnet()
  const nodes = [
    await testnet.start('one'),
    await testnet.start('two'),
    await testnet.start('three'),
  ]
  const [one, two, three] = nodes.map((node) => client(node, 'local/app'))
  assert.ok(one && two && three)
  const content = new TestContent()
  const subject = content.image({ tag: 'image' })
  await one.push(content)
  const [first, second] = [new TestContent(), new TestContent()]
  const entries = [first, second].map((each, index) => {
    const { digest } = each.image({ subject, annotations: { a: String(index) } })
    return { digest, list: each.referrers.get(subject.digest) ?? [] }
  })
  await one.push(first)
  await two.push(second)
  const all = entries.flatMap(({ list }) => list).toSorted((a, b) => (a.digest < b.digest ? -1 : 1))
  for (const node of [one, two, three]) {
    const { manifests } = await node.referrers(subject.digest)
    assert.deepEqual(
      manifests.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)),
      all,
    )
    assert.deepEqual(
      (await node.tags()).filter((tag) => tag !== 'image'),
      [],
    )
  }
  await one.deleteManifest(entries[0]?.digest ?? '')
  const four = client(await testnet.start('four'), 'local/app')
  for (const node of [one, four]) {
    assert.deepEqual((await node.referrers(subject.digest)).manifests, entries[1]?.list)
  }
})

test('makes the torrent of a large blob that came as a stream', async () => {
  await using testnet = await openTestnet()
  const [one, two] = [await testnet.start('one'), await testnet.start('two')]
  const content = new TestContent()
  const { digest, bytes } = randomBlob(content, 5_000_000)
  const layer = content.blob(bytes, MEDIA_TYPES.ociLayer)
  content.image({ tag: '1', elsewhere: [layer] })
  await client(one, 'local/app').pushBlob('streamed', { digest, bytes })
  await client(one, 'local/app').push(content)
  await client(two, 'local/app').readBlob(digest, bytes)
})

test('answers what cannot be pushed, and goes on', async () => {
  await using testnet = await openTestnet()
  const node = await testnet.start('node')
  const app = client(node, 'local/app')
  const location = await app.beginUpload()
  for (const [status, method, path, headers] of [
    [400, 'PUT', location, {}],
    [400, 'PUT', `${location}?digest=sha256:short`, {}],
    [400, 'PUT', `${location}?digest=blake3:abcdef`, {}],
    [400, 'PATCH', location, { 'Content-Range': '5-2' }],
    [400, 'PATCH', location, { 'Content-Range': 'everything' }],
    [400, 'POST', app.path('blobs/uploads/?mount=nothing'), {}],
    [404, 'PATCH', app.path('blobs/uploads/unknown'), {}],
    [404, 'PATCH', location.replace('local/app', 'local/other'), {}],
    [405, 'POST', app.path('manifests/1'), {}],
  ] as [number, string, string, Record<string, string>][]) {
    await app.expect(status, method, path, { headers, body: 'abc' })
  }
  await app.expect(202, 'PATCH', location, { body: 'abc' })
  await app.expect(201, 'PUT', withDigest(location, digestOf('abc')))
})

/** Waits until so many bytes of an upload are there. */
async function received(app: ConformanceClient, location: string, bytes: number): Promise<void> {
  const range = `0-${bytes - 1}`
  while ((await app.request('GET', location)).headers.get('range') !== range);
}
