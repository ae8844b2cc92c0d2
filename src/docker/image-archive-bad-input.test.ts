import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { digestOf, hexOf } from '../oci/digest.ts'
import {
  blobEntry,
  describe,
  INDEX_TYPE,
  inPieces,
  layoutEntries,
  makeCompressedImage,
  makeImage,
  makeLayer,
  makeTar,
  MANIFEST_TYPE,
  saveEntries,
  type FixtureEntry,
} from '../testing/archive-fixtures.ts'
import { readImageArchive } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

async function read(entries: readonly FixtureEntry[]) {
  return await readImageArchive(inPieces(await makeTar(entries)), new MemoryBlobSink())
}

const image = await makeImage('a', 'b')
const saved = saveEntries(image, ['app:1'])
const compressed = await makeCompressedImage('a', 'b')
const compressedBlobs = [compressed.manifest, compressed.config, ...compressed.layers]
const root = describe(compressed.manifest, MANIFEST_TYPE)
const other = await makeLayer('other')
const without = (name: string) => saved.filter((entry) => entry.name !== name)
const replaced = (name: string, content: string | Buffer) =>
  saved.map((entry) => (entry.name === name ? { ...entry, content } : entry))
const table = (changes: object): string =>
  JSON.stringify([
    {
      Config: `${hexOf(image.imageId)}.json`,
      RepoTags: [],
      Layers: ['layer0/layer.tar', 'layer1/layer.tar'],
      ...changes,
    },
  ])
const manyLayers = (count: number): string =>
  table({ Layers: Array.from({ length: count }, () => 'a') })
const manifestOf = (layers: object[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      config: describe(compressed.config, 'application/vnd.oci.image.config.v1+json'),
      layers,
    }),
  )
const oneLayer = manifestOf([describe(compressed.layers[0] ?? other)])
const wrongSize = manifestOf([{ ...describe(other), size: other.length - 1 }])
const tooMany = manifestOf(Array.from({ length: 1001 }, () => describe(other)))
const onlyAttestation = indexOf(
  { ...root, platform: { os: 'unknown', architecture: 'unknown' } },
  { ...describe(oneLayer, MANIFEST_TYPE), platform: { os: 'linux', architecture: 'amd64' } },
)
const emptyIndex = Buffer.from('{"schemaVersion":2,"manifests":[]}')

const BAD: { what: string; entries: readonly FixtureEntry[]; code: string; message: RegExp }[] = [
  { what: 'nothing in it', entries: [], code: 'ARCHIVE_INVALID', message: /found neither/ },
  {
    what: 'files that are no image',
    entries: [{ name: 'README', content: 'hello' }],
    code: 'ARCHIVE_INVALID',
    message: /found neither/,
  },
  {
    what: 'a table that is no JSON',
    entries: replaced('manifest.json', 'not JSON'),
    code: 'ARCHIVE_INVALID',
    message: /manifest.json: wanted JSON/,
  },
  {
    what: 'a table that is no list',
    entries: replaced('manifest.json', '{}'),
    code: 'ARCHIVE_INVALID',
    message: /wanted a list/,
  },
  {
    what: 'an empty table',
    entries: replaced('manifest.json', '[]'),
    code: 'ARCHIVE_INVALID',
    message: /wanted an image, found none/,
  },
  {
    what: 'a table that names a million layers',
    entries: replaced('manifest.json', manyLayers(1_000_000)),
    code: 'ARCHIVE_INVALID',
    message: /wanted at most 1000 layers, found 1000000/,
  },
  {
    what: 'a manifest that names too many layers',
    entries: layoutEntries([describe(tooMany, MANIFEST_TYPE)], [tooMany, compressed.config, other]),
    code: 'ARCHIVE_INVALID',
    message: /wanted at most 1000 layers, found 1001/,
  },
  {
    what: 'an oversized table',
    entries: replaced('manifest.json', Buffer.alloc(16 * 1024 * 1024 + 1, ' ')),
    code: 'ARCHIVE_INVALID',
    message: /manifest.json": wanted at most 16777216 bytes, found 16777217/,
  },
  {
    what: 'an oversized config',
    entries: [
      ...replaced('manifest.json', table({ Config: 'x/layer.tar' })),
      { name: 'x/layer.tar', content: Buffer.alloc(4 * 1024 * 1024 + 1, '{') },
    ],
    code: 'ARCHIVE_INVALID',
    message: /wanted at most 4194304 bytes, found 4194305/,
  },
  {
    what: 'an absent config',
    entries: without(`${hexOf(image.imageId)}.json`),
    code: 'ARCHIVE_INCOMPLETE',
    message: /found none/,
  },
  {
    what: 'another config than its name says',
    entries: replaced(`${hexOf(image.imageId)}.json`, '{"rootfs":{}}'),
    code: 'ARCHIVE_INVALID',
    message: new RegExp(`wanted a config of digest ${image.imageId}, found sha256:`),
  },
  {
    what: 'a config without diffIDs',
    entries: [
      ...replaced('manifest.json', table({ Config: 'c.json' })),
      { name: 'c.json', content: '{"rootfs":{"diff_ids":["x"]}}' },
    ],
    code: 'ARCHIVE_INVALID',
    message: /wanted rootfs.diff_ids/,
  },
  {
    what: 'an absent layer',
    entries: without('layer1/layer.tar'),
    code: 'ARCHIVE_INCOMPLETE',
    message: /wanted layer layer1\/layer.tar, found none/,
  },
  {
    what: 'another layer than its config says',
    entries: replaced('layer1/layer.tar', other),
    code: 'BLOB_DIGEST_MISMATCH',
    message: new RegExp(`wanted ${digestOf(image.layers[1] ?? '')} .* found ${digestOf(other)}`),
  },
  {
    what: 'another compressed layer than its config says',
    entries: replaced('layer1/layer.tar', gzipSync(other)),
    code: 'BLOB_DIGEST_MISMATCH',
    message: new RegExp(`wanted ${digestOf(image.layers[1] ?? '')} .* found ${digestOf(other)}`),
  },
  {
    what: 'fewer layers than its config says',
    entries: replaced('manifest.json', table({ Layers: ['layer0/layer.tar'] })),
    code: 'ARCHIVE_INVALID',
    message: /wanted 2 layers as in its config, found 1/,
  },
  {
    what: 'a layer path that climbs out',
    entries: replaced('manifest.json', table({ Layers: ['../../etc/shadow', 'a'] })),
    code: 'ARCHIVE_INVALID',
    message: /"..\/..\/etc\/shadow": it leaves the archive/,
  },
  {
    what: 'an entry that climbs out',
    entries: [{ name: '../x', content: 'x' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /"..\/x": it leaves the archive/,
  },
  {
    what: 'an entry that climbs and comes back',
    entries: [{ name: 'a/../b', content: 'x' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /it leaves the archive/,
  },
  {
    what: 'an absolute entry',
    entries: [{ name: '/etc/passwd', content: 'x' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /found an absolute one/,
  },
  {
    what: 'a symbolic link that climbs out',
    entries: [{ name: 'a/l', type: 'symlink', linkname: '../../x' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /it leaves the archive/,
  },
  {
    what: 'an absolute symbolic link',
    entries: [{ name: 'l', type: 'symlink', linkname: '/etc/passwd' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /found an absolute one/,
  },
  {
    what: 'a hard link that climbs out',
    entries: [{ name: 'a/b/l', type: 'link', linkname: '../x' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /it leaves the archive/,
  },
  {
    what: 'links in a circle',
    entries: [
      ...without('layer0/layer.tar'),
      { name: 'layer0/layer.tar', type: 'symlink', linkname: '../l' },
      { name: 'l', type: 'symlink', linkname: 'layer0/layer.tar' },
    ],
    code: 'ARCHIVE_INVALID',
    message: /its links lead nowhere/,
  },
  {
    what: 'a device',
    entries: [{ name: 'sda', type: 'block-device', devmajor: 8, devminor: 0 }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /found block-device/,
  },
  {
    what: 'a pipe',
    entries: [{ name: 'p', type: 'fifo' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /found fifo/,
  },
  {
    what: 'a name that is too long',
    entries: [{ name: 'x'.repeat(600), content: 'x' }, ...saved],
    code: 'ARCHIVE_INVALID',
    message: /wanted at most 512 characters/,
  },
  {
    what: 'a layout of another version',
    entries: [
      ...layoutEntries([root], compressedBlobs),
      { name: 'oci-layout', content: '{"imageLayoutVersion":"2.0.0"}' },
    ],
    code: 'ARCHIVE_INVALID',
    message: /wanted imageLayoutVersion 1, found 2.0.0/,
  },
  {
    what: 'an empty layout',
    entries: layoutEntries([], compressedBlobs),
    code: 'ARCHIVE_INVALID',
    message: /wanted an image, found none/,
  },
  {
    what: 'an index.json that is a manifest',
    entries: [
      ...compressedBlobs.map(blobEntry),
      { name: 'index.json', content: compressed.manifest },
    ],
    code: 'ARCHIVE_INVALID',
    message: /index.json: wanted a list of manifests/,
  },
  {
    what: 'a root that is no manifest',
    entries: layoutEntries([describe(compressed.config, MANIFEST_TYPE)], compressedBlobs),
    code: 'ARCHIVE_INVALID',
    message: /schemaVersion/,
  },
  {
    what: 'an absent root',
    entries: layoutEntries([root], compressedBlobs.slice(1)),
    code: 'ARCHIVE_INCOMPLETE',
    message: new RegExp(`wanted manifest ${root.digest}, found none`),
  },
  {
    what: 'a layout without a layer',
    entries: layoutEntries([root], compressedBlobs.slice(0, 3)),
    code: 'ARCHIVE_INCOMPLETE',
    message: new RegExp(`wanted layer ${digestOf(compressed.layers[1] ?? '')}, found none`),
  },
  {
    what: 'a layout without a config',
    entries: layoutEntries([root], [compressed.manifest, ...compressed.layers]),
    code: 'ARCHIVE_INCOMPLETE',
    message: new RegExp(`wanted config ${compressed.imageId}, found none`),
  },
  {
    what: 'a layer blob with other bytes',
    entries: layoutEntries([root], compressedBlobs).map((entry) =>
      entry.name.endsWith(hexOf(digestOf(compressed.layers[1] ?? '')))
        ? { ...entry, content: other }
        : entry,
    ),
    code: 'BLOB_DIGEST_MISMATCH',
    message: new RegExp(`wanted ${digestOf(compressed.layers[1] ?? '')}, found ${digestOf(other)}`),
  },
  {
    what: 'a config blob with other bytes',
    entries: layoutEntries([root], compressedBlobs).map((entry) =>
      entry.name.endsWith(hexOf(compressed.imageId)) ? { ...entry, content: '{}' } : entry,
    ),
    code: 'BLOB_DIGEST_MISMATCH',
    message: new RegExp(`wanted ${compressed.imageId}, found ${digestOf('{}')}`),
  },
  {
    what: 'a blob larger than its descriptor',
    entries: layoutEntries(
      [describe(wrongSize, MANIFEST_TYPE)],
      [wrongSize, compressed.config, other],
    ),
    code: 'ARCHIVE_INVALID',
    message: new RegExp(
      `wanted ${other.length - 1} bytes as in its descriptor, found ${other.length}`,
    ),
  },
  {
    what: 'a root larger than its descriptor',
    entries: layoutEntries([{ ...root, size: root.size - 1 }], compressedBlobs),
    code: 'ARCHIVE_INVALID',
    message: new RegExp(`wanted ${root.size - 1} bytes of`),
  },
  {
    what: 'an image index of which no platform is here',
    entries: layoutEntries(
      [describe(indexOf(describe(oneLayer, MANIFEST_TYPE)), INDEX_TYPE)],
      [indexOf(describe(oneLayer, MANIFEST_TYPE)), oneLayer, compressed.config],
    ),
    code: 'ARCHIVE_INCOMPLETE',
    message: /wanted layer/,
  },
  {
    what: 'an image index of which only an attestation is here',
    entries: layoutEntries(
      [describe(onlyAttestation, INDEX_TYPE)],
      [onlyAttestation, ...compressedBlobs],
    ),
    code: 'ARCHIVE_INCOMPLETE',
    message: new RegExp(`wanted manifest ${digestOf(oneLayer)}, found none`),
  },
  {
    what: 'an image index of nothing',
    entries: layoutEntries([describe(emptyIndex, INDEX_TYPE)], [emptyIndex]),
    code: 'ARCHIVE_INCOMPLETE',
    message: /at least one platform/,
  },
]

function indexOf(...manifests: object[]): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }))
}

for (const { what, entries, code, message } of BAD) {
  test(`refuses an archive with ${what}`, async () => {
    await assert.rejects(read(entries), { code, message })
  })
}

test('walks an image index that names one manifest a thousand times only once', async () => {
  const [config, layers] = [compressed.config, compressed.layers]
  const children = Array.from({ length: 1000 }, () => root)
  const inner = indexOf(...children)
  const middle = indexOf(...children.map(() => describe(inner, INDEX_TYPE)))
  const outer = indexOf(...children.map(() => describe(middle, INDEX_TYPE)))
  const blobs = [outer, middle, inner, compressed.manifest, config, ...layers]
  const [found] = await read(layoutEntries([describe(outer, INDEX_TYPE)], blobs))
  assert.equal(found?.blobs.length, blobs.length)
})
