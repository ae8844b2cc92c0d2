import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'

import { digestOf, parseDigest, type Digest } from '../oci/digest.ts'
import {
  blobEntry,
  describe,
  INDEX_TYPE,
  inPieces,
  layoutEntries,
  makeCompressedImage,
  makeImage,
  makeTar,
  MANIFEST_TYPE,
  saveEntries,
  withSize,
  type FixtureEntry,
} from './archive-fixtures.ts'
import { importPath, readImageArchive, type ArchivedImage } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures/image-archives')
// What `docker inspect` says of the two images of the fixtures, and the manifests that follow from it.
const BASE_ID = 'sha256:cd49e2ebfd9e9507419dc223dee03fbf809bfbf33658e136b3d6251f93f7377a'
const APP_ID = 'sha256:dc5894afbfe86eee36acf2f2d18a2649d00fe1604a7c19ae62292da3f23e035d'
const BASE = 'sha256:9d5933e85cc64e5c7a941ff558646693e32509d9e2ad87c69be444af8e1474d1'
const APP = 'sha256:466d80dc4a81b6d6be4c970471073016e2b07686149ee9b383ca4d0a6a07eea5'

async function read(entries: readonly FixtureEntry[], sink = new MemoryBlobSink()) {
  return await readImageArchive(inPieces(await makeTar(entries)), sink)
}

function assertAllHeld(images: readonly ArchivedImage[], sink: MemoryBlobSink): void {
  for (const { digest, size } of images.flatMap(({ blobs }) => blobs)) {
    assert.equal(sink.blobs.get(digest)?.length, size)
  }
}

const configOf = ({ blobs }: ArchivedImage): Digest | undefined =>
  blobs.find(({ role }) => role === 'config')?.digest

const CLASSIC = [
  {
    file: 'docker-20.10-graphdriver.tar',
    names: [['example/base:1', 'example/base:stable'], ['registry.example/app:2']],
  },
  {
    file: 'docker-28.5-graphdriver.tar',
    names: [['example/base:1', 'example/base:stable'], ['registry.example/app:2']],
  },
  { file: 'docker-28.5-graphdriver-by-id.tar', names: [[], []] },
  {
    file: 'podman-4.3.tar',
    names: [['localhost/example/base:1'], ['registry.example/app:2']],
  },
]

for (const { file, names } of CLASSIC) {
  test(`makes the same manifests from ${file} as from every other classic store`, async () => {
    const sink = new MemoryBlobSink()
    const images = await importPath(join(FIXTURES, file), sink)
    const found = images
      .map((image) => ({
        manifest: image.manifest.digest,
        id: configOf(image),
        names: image.names,
      }))
      .toSorted((a, b) => (a.id ?? '').localeCompare(b.id ?? ''))
    assert.deepEqual(found, [
      { manifest: BASE, id: BASE_ID, names: names[0] },
      { manifest: APP, id: APP_ID, names: names[1] },
    ])
    assertAllHeld(images, sink)
    assert.equal(
      sink.blobs.size,
      6,
      'two manifests, two configs, two layers of which one is shared',
    )
    assert.equal(new Set(sink.ingested).size, sink.ingested.length, 'nothing is taken in twice')
  })
}

test('lists manifest, config and layers of an image of the classic store, base first', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'docker-20.10-graphdriver.tar'), sink)
  assert.deepEqual(
    images.find(({ manifest }) => manifest.digest === APP),
    {
      manifest: { mediaType: MANIFEST_TYPE, digest: APP, size: 548 },
      names: ['registry.example/app:2'],
      blobs: [
        { digest: APP, size: 548, mediaType: MANIFEST_TYPE, role: 'manifest' },
        {
          digest: APP_ID,
          size: 1778,
          mediaType: 'application/vnd.oci.image.config.v1+json',
          role: 'config',
        },
        {
          digest: 'sha256:7b7490ff5e64cffad464afb21eab85985f508d959b7f8bc2d860beb5c614935b',
          size: 2560,
          mediaType: 'application/vnd.oci.image.layer.v1.tar',
          role: 'layer',
        },
        {
          digest: 'sha256:a7f1c2d3d3a281a21c4df1427054d68f9de9b7e82287b273f78251a649bd6c0b',
          size: 2560,
          mediaType: 'application/vnd.oci.image.layer.v1.tar',
          role: 'layer',
        },
      ],
    },
  )
})

test('keeps the manifests of a containerd store as they are', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'docker-28.5-containerd.tar'), sink)
  assert.deepEqual(
    images.map(({ manifest: { digest, mediaType }, names }) => ({ digest, mediaType, names })),
    [
      {
        digest: 'sha256:71b4f641fa3b206cf631b9f3b411897dc92928b159e45b569668590e2974cf98',
        mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
        names: ['docker.io/example/base:1', 'docker.io/example/base:stable'],
      },
      {
        digest: 'sha256:9dbafe934396b0e5f633fa0dd619eb18eedd76640d09355b8a7fd5719fc22263',
        mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
        names: ['registry.example/app:2'],
      },
    ],
  )
  assertAllHeld(images, sink)
})

test('keeps an image index whose other platforms are absent, and lists what is here', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'docker-28.5-containerd-platforms.tar'), sink)
  assert.deepEqual(
    images.map(({ manifest, names, blobs }) => ({
      digest: manifest.digest,
      mediaType: manifest.mediaType,
      names,
      roles: blobs.map(({ role }) => role),
    })),
    [
      {
        digest: 'sha256:77c747a7ae2a749c963bcdb04ee18a355f0b645e3fc37a908d99900a1ea9818c',
        mediaType: INDEX_TYPE,
        names: ['registry.example/platforms:3'],
        roles: ['manifest', 'manifest', 'config', 'layer', 'manifest', 'config', 'layer'],
      },
    ],
  )
  assertAllHeld(images, sink)
})

test('keeps the manifest and the compressed layers of a layout that skopeo wrote', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'skopeo-1.9-oci.tar'), sink)
  assert.deepEqual(
    images.map(({ manifest, names }) => [manifest.digest, names]),
    [
      [
        'sha256:efd57d4cb71bfce842b66fcc8f6056496e44a2b529366447348db4d7ef2a71cd',
        ['registry.example/app:2'],
      ],
    ],
  )
  assertAllHeld(images, sink)
})

for (const [name, compress] of [
  ['gzip', gzipSync],
  ['zstd', zstdCompressSync],
] as const) {
  test(`reads an archive in ${name}`, async () => {
    const plain = await readFile(join(FIXTURES, 'docker-20.10-graphdriver.tar'))
    const images = await readImageArchive(inPieces(compress(plain), 100), new MemoryBlobSink())
    assert.deepEqual(
      images.map(({ manifest }) => manifest.digest).toSorted(),
      [APP, BASE].toSorted(),
    )
  })
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
