import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { heldPartsOf } from './held-image.ts'

const bytesOf = (value: object) => Buffer.from(JSON.stringify(value))
const describe = (mediaType: string, bytes: Buffer) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
})

function imageOf(name: string, layers: readonly Buffer[]): { manifest: Buffer; config: Buffer } {
  const config = bytesOf({ name })
  const manifest = bytesOf({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: describe(MEDIA_TYPES.ociConfig, config),
    layers: layers.map((layer) => describe(MEDIA_TYPES.ociLayerGzip, layer)),
  })
  return { manifest, config }
}

async function storeWith(path: string, blobs: readonly Buffer[]): Promise<DiskBlobStore> {
  const store = await DiskBlobStore.open({ dataDir: path })
  for (const bytes of blobs) {
    await store.ingest(
      (async function* () {
        yield bytes
      })(),
    )
  }
  return store
}

test('of an image index the manifests that are here are published, with the blobs that are here', async () => {
  await using dir = await tempDir()
  const [shared, own, absent] = ['shared', 'own', 'absent'].map((text) => Buffer.from(text))
  assert.ok(shared && own && absent)
  const [here, half, away] = [
    imageOf('here', [shared, own]),
    imageOf('half', [shared, absent]),
    imageOf('away', [shared]),
  ] as const
  const index = bytesOf({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: [here, half, away].map(({ manifest }) =>
      describe(MEDIA_TYPES.ociManifest, manifest),
    ),
  })
  const blobs = [index, here.manifest, here.config, half.manifest, half.config, shared, own]
  await using store = await storeWith(dir.path, blobs)
  const parts = await heldPartsOf(digestOf(index), store)
  const digests = (list: readonly { digest: Digest }[]) => list.map(({ digest }) => digest)
  assert.deepEqual(digests(parts.images), [index, here.manifest, half.manifest].map(digestOf))
  assert.deepEqual(
    new Set(digests(parts.blobs)),
    new Set([here.config, half.config, shared, own].map(digestOf)),
  )
  assert.deepEqual([parts.listedManifests, parts.absentBlobs], [3, 1])
})

test('what is no manifest is not published', async () => {
  await using dir = await tempDir()
  await using store = await storeWith(dir.path, [Buffer.from('a layer')])
  await assert.rejects(heldPartsOf(digestOf('a layer'), store), { code: 'MANIFEST_INVALID' })
  await assert.rejects(heldPartsOf(digestOf('nothing'), store), { code: 'BLOB_UNKNOWN' })
})

test('an image of more parts than one may have is not published', async () => {
  await using dir = await tempDir()
  const manifests = Array.from({ length: 257 }, (_, index) => imageOf(`${index}`, []).manifest)
  const index = bytesOf({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: manifests.map((bytes) => describe(MEDIA_TYPES.ociManifest, bytes)),
  })
  await using store = await storeWith(dir.path, [index, ...manifests])
  await assert.rejects(heldPartsOf(digestOf(index), store), { code: 'MANIFEST_INVALID' })
})
