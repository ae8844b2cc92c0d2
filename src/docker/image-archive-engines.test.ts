/** What each kind of engine and tool writes, as fixtures/README.md tells. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'

import type { Digest } from '../oci/digest.ts'
import { INDEX_TYPE, inPieces, MANIFEST_TYPE } from '../testing/archive-fixtures.ts'
import { importPath, readImageArchive, type ArchivedImage } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures/image-archives')
// What `docker inspect` says of the two images of the fixtures, and the manifests that follow from it.
const BASE_ID = 'sha256:cd49e2ebfd9e9507419dc223dee03fbf809bfbf33658e136b3d6251f93f7377a'
const APP_ID = 'sha256:dc5894afbfe86eee36acf2f2d18a2649d00fe1604a7c19ae62292da3f23e035d'
const BASE = 'sha256:9d5933e85cc64e5c7a941ff558646693e32509d9e2ad87c69be444af8e1474d1'
const APP = 'sha256:466d80dc4a81b6d6be4c970471073016e2b07686149ee9b383ca4d0a6a07eea5'

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
