import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { digestOf, parseDigest } from '../oci/digest.ts'
import {
  blobEntry,
  describe,
  inPieces,
  layoutEntries,
  makeCompressedImage,
  makeImage,
  makeTar,
  MANIFEST_TYPE,
  saveEntries,
  withSize,
  type FixtureEntry,
} from '../testing/archive-fixtures.ts'
import { readImageArchive } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

async function read(entries: readonly FixtureEntry[], sink = new MemoryBlobSink()) {
  return await readImageArchive(inPieces(await makeTar(entries)), sink)
}

test('follows links to layers of other images, whichever way they point', async () => {
  const image = await makeImage('a', 'b')
  const entries = saveEntries(image, ['app:1']).filter(({ name }) => name !== 'layer0/layer.tar')
  const [first] = image.layers
  const images = await read([
    { name: 'layer0/layer.tar', type: 'symlink', linkname: '../other/layer.tar' },
    ...entries,
    { name: 'other/layer.tar', type: 'link', linkname: './real.tar' },
    { name: './real.tar', ...(first && { content: first }) },
  ])
  assert.deepEqual(
    images.map(({ manifest }) => manifest.digest),
    [digestOf(image.manifest)],
  )
})

test('takes compressed layers without a manifest when what is inside is the diffID', async () => {
  const image = await makeImage('a', 'b')
  const entries = saveEntries(image, ['app:1'])
  const packed = entries.map((entry) =>
    entry.name === 'layer1/layer.tar'
      ? { ...entry, content: gzipSync(entry.content ?? '') }
      : entry,
  )
  const sink = new MemoryBlobSink()
  const [found] = await read(packed, sink)
  const second = gzipSync(image.layers[1] ?? '')
  assert.deepEqual(
    found?.blobs
      .filter(({ role }) => role === 'layer')
      .map(({ mediaType, digest }) => [mediaType, digest]),
    [
      ['application/vnd.oci.image.layer.v1.tar', digestOf(image.layers[0] ?? '')],
      ['application/vnd.oci.image.layer.v1.tar+gzip', digestOf(second)],
    ],
  )
  const manifest: unknown = JSON.parse(
    (await sink.read(parseDigest(found?.manifest.digest))).toString(),
  )
  assert.deepEqual(manifest, {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: describe(image.config, 'application/vnd.oci.image.config.v1+json'),
    layers: [
      describe(image.layers[0] ?? Buffer.alloc(0)),
      describe(second, 'application/vnd.oci.image.layer.v1.tar+gzip'),
    ],
  })
})

test('makes the layers of manifest.json count where the manifest has none (moby#47065)', async () => {
  const image = await makeImage('a', 'b')
  const hollow = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: describe(image.config, 'application/vnd.oci.image.config.v1+json'),
      layers: [],
    }),
  )
  const table = [
    {
      Config: blobEntry(image.config).name,
      RepoTags: ['app:1'],
      Layers: image.layers.map((layer) => blobEntry(layer).name),
    },
  ]
  const images = await read([
    ...layoutEntries([describe(hollow, MANIFEST_TYPE)], [hollow, image.config, ...image.layers]),
    { name: 'manifest.json', content: JSON.stringify(table) },
  ])
  assert.deepEqual(
    images.map(({ manifest, names }) => [manifest.digest, names]),
    [[digestOf(image.manifest), ['app:1']]],
  )
})

test('joins the names of one image', async () => {
  const { manifest, config, layers } = await makeCompressedImage('a')
  const named = (name: string) => ({
    ...describe(manifest, MANIFEST_TYPE),
    annotations: {
      'io.containerd.image.name': `docker.io/library/app:${name}`,
      'org.opencontainers.image.ref.name': name,
    },
  })
  const images = await read(
    layoutEntries([named('1'), named('2'), named('1')], [manifest, config, ...layers]),
  )
  assert.deepEqual(
    images.map(({ names }) => names),
    [['docker.io/library/app:1', 'docker.io/library/app:2']],
  )
})

test('lists a layer once that an image has twice', async () => {
  const twice = await makeImage('a', 'a')
  const [found] = await read(saveEntries(twice))
  assert.equal(found?.manifest.digest, digestOf(twice.manifest))
  assert.deepEqual(
    found?.blobs.map(({ role }) => role),
    ['manifest', 'config', 'layer'],
  )
})

test('takes no bare tag for a name', async () => {
  const { manifest, config, layers } = await makeCompressedImage('a')
  const root = {
    ...describe(manifest, MANIFEST_TYPE),
    annotations: { 'org.opencontainers.image.ref.name': 'latest' },
  }
  const images = await read(layoutEntries([root], [manifest, config, ...layers]))
  assert.deepEqual(
    images.map(({ names }) => names),
    [[]],
  )
})

test('does not read again what the sink has', async () => {
  const sink = new MemoryBlobSink()
  const { manifest, config, layers } = await makeCompressedImage('a', 'b')
  const entries = layoutEntries([describe(manifest, MANIFEST_TYPE)], [manifest, config, ...layers])
  const first = await read(entries, sink)
  sink.ingested.length = 0
  assert.deepEqual(await read(entries, sink), first)
  assert.deepEqual(sink.ingested, [])
})

test('completes an archive without some blobs with what the sink has', async () => {
  const sink = new MemoryBlobSink()
  const { manifest, config, layers } = await makeCompressedImage('a', 'b')
  const root = describe(manifest, MANIFEST_TYPE)
  const first = await read(layoutEntries([root], [manifest, config, ...layers]), sink)
  assert.deepEqual(await read(layoutEntries([root], [manifest, config]), sink), first)
})

test('reads a manifest that comes before, between or after its blobs', async () => {
  const { manifest, config, layers } = await makeCompressedImage('a', 'b')
  const entries = layoutEntries([describe(manifest, MANIFEST_TYPE)], [manifest, config, ...layers])
  for (const order of [
    entries,
    entries.toReversed(),
    [...entries.slice(3), ...entries.slice(0, 3)],
  ]) {
    const images = await read(order)
    assert.deepEqual(
      images.map((image) => image.manifest.digest),
      [digestOf(manifest)],
    )
  }
})

test('passes a layer on while it arrives, with little in memory', async () => {
  const size = 48 * 1024 * 1024
  const image = await makeImage('a')
  let sent = 0
  let taken = 0
  let furthest = 0
  const sink = new MemoryBlobSink()
  const draining = Object.assign(Object.create(sink) as MemoryBlobSink, {
    async ingest(source: AsyncIterable<Uint8Array>, options: { size: number }) {
      if (options.size !== size) return await sink.ingest(source, options)
      for await (const chunk of source) {
        taken += chunk.length
        furthest = Math.max(furthest, sent - taken)
      }
      return { digest: digestOf('large'), size }
    },
  })
  async function* source() {
    const empty = await makeTar([{ name: 'large/layer.tar', content: '' }])
    yield withSize(empty.subarray(0, 512), size)
    const zeros = Buffer.alloc(64 * 1024)
    for (; sent < size; sent += zeros.length) yield zeros
    yield await makeTar(saveEntries(image, ['app:1']))
  }
  const images = await readImageArchive(source(), draining)
  assert.equal(images.length, 1)
  assert.equal(taken, size)
  assert.ok(furthest < 1024 * 1024, `${furthest} bytes were waiting`)
})

test('throws the reason of its signal', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  async function* source() {
    yield (await makeTar([{ name: 'x.tar', content: Buffer.alloc(4096) }])).subarray(0, 2000)
    controller.abort(reason)
    await new Promise(() => undefined)
  }
  const reading = readImageArchive(source(), new MemoryBlobSink(), { signal: controller.signal })
  await assert.rejects(reading, (error) => error === reason)
})

test('lets a failure of its source pass unchanged', async () => {
  const failure = new Error('the engine went away')
  const tar = await makeTar(saveEntries(await makeImage('a')))
  for (const length of [100, 600, 5000]) {
    async function* source() {
      yield tar.subarray(0, length)
      throw failure
    }
    const reading = readImageArchive(source(), new MemoryBlobSink())
    await assert.rejects(reading, (error) => error === failure)
  }
})

test('lets a failure of its sink pass unchanged', async () => {
  const failure = new Error('disk gone')
  const sink = Object.assign(new MemoryBlobSink(), {
    async ingest(): Promise<never> {
      throw failure
    },
  })
  await assert.rejects(read(saveEntries(await makeImage('a')), sink), (error) => error === failure)
})

test('is not kept from ending by a tar that a sink stops reading midway', async () => {
  const failure = new Error('disk full')
  const sink = Object.assign(new MemoryBlobSink(), {
    async ingest(source: AsyncIterable<Uint8Array>): Promise<never> {
      for await (const chunk of source) if (chunk.length > 0) throw failure
      throw new Error('unreachable')
    },
  })
  const layer = Buffer.alloc(3_000_000, 1)
  const entries = [{ name: 'x/layer.tar', content: layer }, ...saveEntries(await makeImage('a'))]
  await assert.rejects(read(entries, sink), (error) => error === failure)
})
