import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Catalog } from '../catalog/catalog.ts'
import type { ImageBlob } from '../catalog/image-records.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { digestOf } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { rebuildCatalog } from './catalog-rebuild.ts'

/** An empty store and a fresh catalog. */
async function openRooms() {
  const dir = await tempDir()
  const store = await DiskBlobStore.open({ dataDir: dir.path })
  const catalog = await Catalog.open({
    path: `${dir.path}/catalog`,
    recordsPath: `${dir.path}/records`,
  })
  return {
    store,
    catalog,
    async keep(content: string, mediaType: string): Promise<Descriptor> {
      async function* source() {
        yield Buffer.from(content)
      }
      const { digest, size } = await store.ingest(source())
      return { digest, size, mediaType }
    },
    async [Symbol.asyncDispose]() {
      await catalog.close()
      await store[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

function absent(content: string, mediaType: string): Descriptor {
  return { digest: digestOf(content), size: content.length, mediaType }
}

function manifestOf(config: Descriptor, layers: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers })
}

function indexOf(manifests: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests })
}

function as(role: ImageBlob['role'], { digest, size, mediaType }: Descriptor): ImageBlob {
  return { digest, size, mediaType, role }
}

test('puts back an image with everything below it, though a layer is not here', async () => {
  await using rooms = await openRooms()
  const { store, catalog } = rooms
  const config = await rooms.keep('{"config":{},"rootfs":{}}', MEDIA_TYPES.ociConfig)
  const layers = [
    await rooms.keep('{ a layer that begins like JSON', MEDIA_TYPES.ociLayer),
    absent('elsewhere', MEDIA_TYPES.ociLayerGzip),
  ]
  const manifest = await rooms.keep(manifestOf(config, layers), MEDIA_TYPES.ociManifest)
  assert.deepEqual(await rebuildCatalog({ store, catalog }), { blobs: 3, images: 1 })
  const { addedAtMs, ...image } = (await catalog.image(manifest.digest)) ?? {}
  assert.ok(addedAtMs)
  assert.deepEqual(image, {
    ...manifest,
    blobs: [as('config', config), ...layers.map((layer) => as('layer', layer))],
  })
})

test('puts back an image index with the images of it that are here, and those on their own', async () => {
  await using rooms = await openRooms()
  const { store, catalog } = rooms
  const config = await rooms.keep('{}', MEDIA_TYPES.ociConfig)
  const layer = await rooms.keep('layer', MEDIA_TYPES.ociLayer)
  const manifest = await rooms.keep(manifestOf(config, [layer]), MEDIA_TYPES.ociManifest)
  const other = absent('other platform', MEDIA_TYPES.ociManifest)
  const index = await rooms.keep(indexOf([manifest, other]), MEDIA_TYPES.ociIndex)
  assert.equal((await rebuildCatalog({ store, catalog })).images, 2)
  assert.deepEqual((await catalog.image(index.digest))?.blobs, [
    as('manifest', manifest),
    as('config', config),
    as('layer', layer),
    as('manifest', other),
  ])
  assert.deepEqual(
    await catalog.imagesWithBlob(layer.digest),
    [manifest.digest, index.digest].sort(),
  )
})

test('leaves out what is too little of an image', async () => {
  await using rooms = await openRooms()
  const { store, catalog } = rooms
  const layer = await rooms.keep('layer', MEDIA_TYPES.ociLayer)
  const config = absent('config', MEDIA_TYPES.ociConfig)
  const manifest = await rooms.keep(manifestOf(config, [layer]), MEDIA_TYPES.ociManifest)
  await rooms.keep(indexOf([manifest]), MEDIA_TYPES.ociIndex)
  await rooms.keep('{"schemaVersion":2', MEDIA_TYPES.ociManifest)
  assert.equal((await rebuildCatalog({ store, catalog })).images, 0)
  assert.deepEqual(await Array.fromAsync(catalog.images()), [])
})

test('keeps the time at which a known image came', async () => {
  await using rooms = await openRooms()
  const { store, catalog } = rooms
  const config = await rooms.keep('{}', MEDIA_TYPES.ociConfig)
  const manifest = await rooms.keep(manifestOf(config, []), MEDIA_TYPES.ociManifest)
  await catalog.putImage({ ...manifest, blobs: [], addedAtMs: 5 })
  await rebuildCatalog({ store, catalog })
  assert.equal((await catalog.image(manifest.digest))?.addedAtMs, 5)
  assert.equal((await catalog.image(manifest.digest))?.blobs.length, 1)
})

test('stops when its signal fires', async () => {
  await using rooms = await openRooms()
  const { store, catalog } = rooms
  await rooms.keep('blob', MEDIA_TYPES.ociLayer)
  const rebuild = rebuildCatalog({ store, catalog, signal: AbortSignal.abort(new Error('enough')) })
  await assert.rejects(rebuild, /enough/)
})
