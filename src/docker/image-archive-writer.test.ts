import assert from 'node:assert/strict'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

import { digestOf, parseDigest } from '../oci/digest.ts'
import {
  describe,
  INDEX_TYPE,
  inPieces,
  layoutEntries,
  makeCompressedImage,
  makeImage,
  makeTar,
  MANIFEST_TYPE,
  saveEntries,
} from '../testing/archive-fixtures.ts'
import { writeImageArchive } from './image-archive-writer.ts'
import { importPath, readImageArchive } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'
import { readTarEntries } from './tar-entries.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures/image-archives')

async function filesOf(tar: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for await (const entry of readTarEntries(inPieces(tar))) {
    if (entry.kind === 'file') files.set(entry.path, await buffer(Readable.from(entry.bytes)))
  }
  return files
}

function jsonOf(files: Map<string, Buffer>, name: string): unknown {
  return JSON.parse(files.get(name)?.toString() ?? '')
}

for (const file of ['docker-20.10-graphdriver.tar', 'docker-28.5-containerd-platforms.tar']) {
  test(`writes what it read from ${file}, so that it is read the same again`, async () => {
    const sink = new MemoryBlobSink()
    const images = await importPath(join(FIXTURES, file), sink)
    const tar = await buffer(writeImageArchive(images, sink))
    const again = new MemoryBlobSink()
    const found = await readImageArchive(inPieces(tar), again)
    const plain = ({ manifest, blobs }: (typeof images)[number]) => [manifest.digest, blobs]
    assert.deepEqual(found.map(plain), images.map(plain))
    assert.deepEqual(new Set(again.blobs.keys()), new Set(sink.blobs.keys()))
  })
}

test('names images as the containerd store and as the classic store want them', async () => {
  const sink = new MemoryBlobSink()
  const image = await makeImage('a', 'b')
  await readImageArchive(inPieces(await makeTar(saveEntries(image))), sink)
  const manifest = describe(image.manifest, MANIFEST_TYPE)
  const names = ['app', 'registry.example:5000/team/app:2', `app@${digestOf(image.manifest)}`]
  const files = await filesOf(await buffer(writeImageArchive([{ manifest, names }], sink)))
  const named = (name: string, tag: string) => ({
    ...manifest,
    annotations: {
      'io.containerd.image.name': name,
      'org.opencontainers.image.ref.name': tag,
    },
  })
  assert.deepEqual(jsonOf(files, 'index.json'), {
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    manifests: [
      named('docker.io/library/app:latest', 'latest'),
      named('registry.example:5000/team/app:2', '2'),
    ],
  })
  assert.deepEqual(jsonOf(files, 'manifest.json'), [
    {
      Config: `blobs/sha256/${image.imageId.slice(7)}`,
      RepoTags: ['app:latest', 'registry.example:5000/team/app:2'],
      Layers: image.layers.map((layer) => `blobs/sha256/${digestOf(layer).slice(7)}`),
    },
  ])
})

test('writes an image without a name', async () => {
  const sink = new MemoryBlobSink()
  const image = await makeImage('a')
  await readImageArchive(inPieces(await makeTar(saveEntries(image))), sink)
  const manifest = describe(image.manifest, MANIFEST_TYPE)
  const files = await filesOf(await buffer(writeImageArchive([{ manifest, names: [] }], sink)))
  assert.deepEqual(jsonOf(files, 'index.json'), {
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    manifests: [manifest],
  })
})

test('writes the same bytes for the same images, each blob once', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'docker-20.10-graphdriver.tar'), sink)
  const [first, second] = await Promise.all([
    buffer(writeImageArchive(images, sink)),
    buffer(writeImageArchive(images, sink)),
  ])
  assert.deepEqual(digestOf(first), digestOf(second))
  // POSIX.1-1988, ustar: the time of the entry
  assert.equal(first.subarray(136, 147).toString(), '0'.repeat(11))
  const entries: string[] = []
  for await (const { path } of readTarEntries(inPieces(first))) entries.push(path)
  assert.equal(new Set(entries).size, entries.length)
  assert.equal(entries.length, 3 + sink.blobs.size)
})

test('puts the image for this host into manifest.json when an image index has several', async () => {
  const sink = new MemoryBlobSink()
  const images = await Promise.all([makeCompressedImage('a'), makeCompressedImage('b')])
  const architectures = ['s390x', process.arch === 'x64' ? 'amd64' : process.arch]
  const children = images.map(({ manifest }, index) => ({
    ...describe(manifest, MANIFEST_TYPE),
    platform: { os: 'linux', architecture: architectures[index] },
  }))
  const index = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: children }),
  )
  const blobs = images.flatMap(({ manifest, config, layers }) => [manifest, config, ...layers])
  const root = describe(index, INDEX_TYPE)
  await readImageArchive(inPieces(await makeTar(layoutEntries([root], [index, ...blobs]))), sink)
  const tar = await buffer(writeImageArchive([{ manifest: root, names: ['app:1'] }], sink))
  const table = jsonOf(await filesOf(tar), 'manifest.json')
  assert.deepEqual(table, [
    {
      Config: `blobs/sha256/${images[1]?.imageId.slice(7)}`,
      RepoTags: ['app:1'],
      Layers: images[1]?.layers.map((layer) => `blobs/sha256/${digestOf(layer).slice(7)}`),
    },
  ])
})

test('fails with BLOB_UNKNOWN when a blob is not held', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'docker-20.10-graphdriver.tar'), sink)
  const layer = images.flatMap(({ blobs }) => blobs).find(({ role }) => role === 'layer')
  sink.blobs.delete(parseDigest(layer?.digest))
  await assert.rejects(buffer(writeImageArchive(images, sink)), {
    code: 'BLOB_UNKNOWN',
    message: new RegExp(`wanted layer ${layer?.digest}, found none`),
  })
})

test('lets a failure midway through a blob reach the reader', async () => {
  const sink = new MemoryBlobSink()
  const images = await importPath(join(FIXTURES, 'docker-20.10-graphdriver.tar'), sink)
  const failure = new Error('disk gone')
  async function* broken() {
    yield Buffer.alloc(1000)
    throw failure
  }
  sink.open = async () => Readable.from(broken(), { objectMode: false })
  await assert.rejects(buffer(writeImageArchive(images, sink)), (error) => error === failure)
})

test('reads blobs no faster than its reader takes them, and stops with it', async () => {
  const size = 32 * 1024 * 1024
  const large = { ...describe(Buffer.from('stands for a large layer')), size }
  const config = Buffer.from('{}')
  const document = { schemaVersion: 2, config: describe(config), layers: [large] }
  const manifest = Buffer.from(JSON.stringify(document))
  const sink = new MemoryBlobSink()
  for (const blob of [config, manifest]) await sink.ingest(inPieces(blob), { size: blob.length })
  const closed = Promise.withResolvers<number>()
  async function* content() {
    let sent = 0
    try {
      for (; sent < size; sent += 65_536) yield Buffer.alloc(65_536)
    } finally {
      closed.resolve(sent)
    }
  }
  const [stat, open] = [sink.stat.bind(sink), sink.open.bind(sink)]
  sink.stat = async (digest) => (digest === large.digest ? { size } : await stat(digest))
  sink.open = async (digest) =>
    digest === large.digest ? Readable.from(content(), { objectMode: false }) : await open(digest)
  const archive = writeImageArchive([{ manifest: describe(manifest), names: [] }], sink)
  let taken = 0
  for await (const chunk of archive) {
    taken += (chunk as Buffer).length
    if (taken > 1024 * 1024) break
  }
  const sent = await closed.promise
  assert.ok(sent < 2 * 1024 * 1024, `${sent} bytes were read for ${taken} that were taken`)
})
