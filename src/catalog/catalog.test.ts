import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf, type Digest } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { CatalogDatabase } from './catalog-database.ts'
import { Catalog } from './catalog.ts'
import type { ImageBlob, ImageRecord } from './image-records.ts'
import type { TorrentRecord } from './torrent-records.ts'
import type { TransferRecord } from './transfer-records.ts'

/** A fresh catalog in a directory of its own. */
async function openCatalog() {
  const dir = await tempDir()
  const where = { path: `${dir.path}/catalog`, recordsPath: `${dir.path}/records` }
  const catalog = await Catalog.open(where)
  return {
    catalog,
    reopen: async () => {
      await catalog.close()
      return Catalog.open(where)
    },
    async [Symbol.asyncDispose]() {
      await catalog.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}

function layer(name: string): ImageBlob {
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip'
  return { digest: digestOf(name), size: name.length, mediaType, role: 'layer' }
}

function imageOf(name: string, blobs: readonly ImageBlob[]): ImageRecord {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  return { digest: digestOf(name), mediaType, size: 500, blobs, addedAtMs: 1_700_000_000_000 }
}

function torrentOf(name: string, infoHash: string): TorrentRecord {
  const pieces = Buffer.alloc(3 * 20, name)
  return { digest: digestOf(name), size: 600_000, pieceLength: 262_144, infoHash, pieces }
}

function transferOf(startedAtMs: number, name = 'blob'): TransferRecord {
  return {
    id: `${startedAtMs}-${name}`,
    digest: digestOf(name),
    size: 100,
    bytes: { store: 0, peers: 60, upstream: 40 },
    firstByteMs: null,
    ms: 12,
    state: 'done',
    startedAtMs,
    peers: [{ peer: '10.0.0.1:6881', nodeName: 'b', bytes: 60 }],
  }
}

test('keeps a torrent, and finds it by digest and by infohash', async () => {
  await using setup = await openCatalog()
  const torrent = torrentOf('blob', 'a'.repeat(40))
  await setup.catalog.putTorrent(torrent)
  await using again = await setup.reopen()
  assert.deepEqual(await again.torrentOf(torrent.digest), torrent)
  assert.deepEqual(await again.torrentByInfoHash(torrent.infoHash), torrent)
  assert.equal(await again.torrentOf(digestOf('other')), undefined)
  assert.equal(await again.torrentByInfoHash('b'.repeat(40)), undefined)
})

test('forgets the former infohash of a torrent that is replaced, and all of one that is removed', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  await catalog.putTorrent(torrentOf('blob', 'a'.repeat(40)))
  await catalog.putTorrent(torrentOf('blob', 'b'.repeat(40)))
  assert.equal(await catalog.torrentByInfoHash('a'.repeat(40)), undefined)
  assert.ok(await catalog.torrentByInfoHash('b'.repeat(40)))
  await catalog.removeTorrent(digestOf('blob'))
  assert.equal(await catalog.torrentOf(digestOf('blob')), undefined)
  assert.equal(await catalog.torrentByInfoHash('b'.repeat(40)), undefined)
})

test('keeps images whole, across a restart', async () => {
  await using setup = await openCatalog()
  const images = [imageOf('one', [layer('a'), layer('b')]), imageOf('two', [])]
  for (const image of images) await setup.catalog.putImage(image)
  await using again = await setup.reopen()
  const byDigest = (a: ImageRecord, b: ImageRecord) => (a.digest < b.digest ? -1 : 1)
  assert.deepEqual(await Array.fromAsync(again.images()), images.sort(byDigest))
  assert.deepEqual(await again.image(digestOf('one')), imageOf('one', [layer('a'), layer('b')]))
  assert.equal(await again.image(digestOf('none')), undefined)
})

test('knows the images that a blob is below, and what it is', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  await catalog.putImage(imageOf('one', [layer('a'), layer('b')]))
  await catalog.putImage(imageOf('two', [layer('b'), layer('c'), layer('b')]))
  const holding = async (name: string) => (await catalog.imagesWithBlob(digestOf(name))).sort()
  assert.deepEqual(await holding('b'), [digestOf('one'), digestOf('two')].sort())
  assert.deepEqual(await holding('a'), [digestOf('one')])
  assert.deepEqual(await holding('one'), [])
  assert.deepEqual(await catalog.descriptorOf(digestOf('c')), layer('c'))
  assert.equal((await catalog.descriptorOf(digestOf('one')))?.role, 'manifest')
  assert.equal(await catalog.descriptorOf(digestOf('none')), undefined)
})

test('forgets the blobs that an image no longer has', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  await catalog.putImage(imageOf('one', [layer('a'), layer('b')]))
  await catalog.putImage(imageOf('one', [layer('b')]))
  assert.deepEqual(await catalog.imagesWithBlob(digestOf('a')), [])
  assert.deepEqual(await catalog.imagesWithBlob(digestOf('b')), [digestOf('one')])
  await catalog.removeImage(digestOf('one'))
  assert.deepEqual(await catalog.imagesWithBlob(digestOf('b')), [])
  assert.equal(await catalog.descriptorOf(digestOf('b')), undefined)
  assert.deepEqual(await Array.fromAsync(catalog.images()), [])
})

test('keeps every reason of a pin until that reason is taken back', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  const digest = digestOf('blob')
  await catalog.pin(digest, 'seeded by hand')
  await catalog.pin(digest, 'job!7')
  await catalog.pin(digest, 'job!7')
  await catalog.unpin(digest, 'seeded by hand')
  await using again = await setup.reopen()
  assert.deepEqual(await Array.fromAsync(again.pins()), [{ digest, reason: 'job!7' }])
})

test('tells the newest transfers first', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  const failed: TransferRecord = { ...transferOf(30), state: 'failed', code: 'DISK_FULL' }
  for (const record of [transferOf(9), failed, transferOf(10)]) await catalog.putTransfer(record)
  assert.deepEqual(await catalog.transfers({ limit: 2 }), [failed, transferOf(10)])
  assert.equal((await catalog.transfers()).length, 3)
})

test('keeps at most a thousand transfers', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  const times = [...Array(1200).keys()]
  for (const time of times) await catalog.putTransfer(transferOf(time))
  assert.equal((await catalog.transfers({ limit: 5000 })).length, 1000)
  assert.equal((await catalog.transfers({ limit: 1 }))[0]?.startedAtMs, 1199)
})

test('takes changes of one image that come at once', async () => {
  await using setup = await openCatalog()
  const { catalog } = setup
  const names = ['a', 'b', 'c', 'd']
  await Promise.all(names.map((name) => catalog.putImage(imageOf('one', [layer(name)]))))
  const kept = (await catalog.image(digestOf('one')))?.blobs.map(({ digest }) => digest)
  const indexed: Digest[] = []
  for (const name of names) {
    if ((await catalog.imagesWithBlob(digestOf(name))).length > 0) indexed.push(digestOf(name))
  }
  assert.deepEqual(indexed, kept)
})

test('closes twice, and says that it is closed', async () => {
  await using setup = await openCatalog()
  await Promise.all([setup.catalog.close(), setup.catalog.close()])
  await assert.rejects(setup.catalog.image(digestOf('one')), TypeError)
})

test('what was written in passing is made to survive a power cut when asked, once', async (t) => {
  await using open = await openCatalog()
  const { catalog } = open
  const { mock } = t.mock.method(CatalogDatabase.prototype, 'write')
  const syncs = () => mock.calls.filter(({ arguments: [, options] }) => options?.sync).length
  await catalog.putImage(imageOf('a', [layer('a1')]), { sync: false })
  assert.equal(syncs(), 0)
  await catalog.sync()
  await catalog.sync()
  assert.equal(syncs(), 1)
  await catalog.putImage(imageOf('b', [layer('b1')]), { sync: false })
  await catalog.putImage(imageOf('c', [layer('c1')]))
  await catalog.sync()
  assert.equal(syncs(), 2)
  assert.ok(await catalog.image(digestOf('b')))
})
