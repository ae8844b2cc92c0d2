/** Images between real engines: each kind exports, our reader and writer stand between, each kind loads. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'

import type { Digest } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { startDockerCtr } from '../testing/lab/docker-ctr.ts'
import type { DockerEngine } from '../testing/lab/docker-engine.ts'
import { startDockerGd } from '../testing/lab/docker-gd.ts'
import {
  buildOnTop,
  buildQuickImage,
  buildStandardImage,
  fingerprintImage,
  runImage,
} from '../testing/lab/images.ts'
import { requireLab } from '../testing/lab/lab-requirements.ts'
import { openPodman } from '../testing/lab/podman.ts'
import { tempDir } from '../testing/temp-dir.ts'
import type { BlobSink } from './blob-sink.ts'
import { DockerDaemon } from './docker-daemon.ts'
import { writeImageArchive } from './image-archive-writer.ts'
import { importPath, readImageArchive, type ArchivedImage } from './image-archive.ts'
import { exportImages } from './image-export.ts'

const CLASSIC_28 = {
  daemonJson: { features: { 'containerd-snapshotter': false }, 'storage-driver': 'overlay2' },
}

/** A sink on disk, and what was taken into it. */
async function openSink() {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(await tempDir())
  const store = stack.use(await DiskBlobStore.open({ dataDir: folder.path }))
  const ingested: Digest[] = []
  const sink: BlobSink = {
    stat: async (digest) => await store.stat(digest),
    open: async (digest) => await store.open(digest),
    read: async (digest) => await buffer(await store.open(digest)),
    ingest: async (source, options) => {
      const blob = await store.ingest(source, options)
      ingested.push(blob.digest)
      return blob
    },
  }
  return { sink, ingested, [Symbol.asyncDispose]: async () => await stack.disposeAsync() }
}

async function exportFrom(
  engine: DockerEngine,
  options: { names: string[]; sink: BlobSink; useStoreFiles?: boolean },
): Promise<ArchivedImage[]> {
  const daemon = await DockerDaemon.connect({ host: engine.dockerHost })
  const images = await exportImages({ daemon, ...options })
  return images.toSorted((a, b) => ((a.names[0] ?? '') < (b.names[0] ?? '') ? -1 : 1))
}

async function loadInto(
  engine: DockerEngine,
  images: readonly ArchivedImage[],
  sink: BlobSink,
): Promise<string[]> {
  const daemon = await DockerDaemon.connect({ host: engine.dockerHost })
  return await daemon.loadImages(writeImageArchive(images, sink))
}

const idOf = async (engine: DockerEngine, name: string): Promise<string> =>
  await engine.dockerOk(['image', 'inspect', '--format', '{{.Id}}', name])

const rootsOf = (images: readonly ArchivedImage[]): string[] =>
  images.map(({ manifest }) => manifest.digest)

test('images of a classic store are the same on every road and in every engine', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'docker-ctr', 'debian-tree', 'busybox'])) return
  await using source = await startDockerGd()
  const names = ['lab/standard:1', 'lab/upper:1']
  const ids = [
    await buildStandardImage(source, { reference: 'lab/standard:1', incompressibleMib: 8 }),
    await buildOnTop(source, { base: 'lab/standard:1', reference: 'lab/upper:1' }),
  ]
  await using byFiles = await openSink()
  await using byApi = await openSink()
  const images = await exportFrom(source, { names, sink: byFiles.sink })
  assert.deepEqual(
    images.map((image) => image.names),
    names.map((name) => [name]),
  )

  await t.test(
    'the files of the store and the export of the engine make identical blobs',
    async () => {
      const exported = await exportFrom(source, { names, sink: byApi.sink, useStoreFiles: false })
      assert.deepEqual(exported, images)
      assert.equal(
        new Set(byFiles.ingested).size,
        byFiles.ingested.length,
        'no blob twice by files',
      )
      assert.equal(new Set(byApi.ingested).size, byApi.ingested.length, 'no blob twice by export')
    },
  )

  await t.test('a second image costs only the layers that it adds', async () => {
    await buildOnTop(source, { base: 'lab/standard:1', reference: 'lab/second:1' })
    byFiles.ingested.length = 0
    await exportFrom(source, { names: ['lab/second:1'], sink: byFiles.sink })
    assert.equal(byFiles.ingested.length, 3, 'one layer, config and manifest')
  })

  await t.test('another classic store takes them and keeps the image IDs', async () => {
    await using target = await startDockerGd()
    await loadInto(target, images, byFiles.sink)
    for (const [index, name] of names.entries()) assert.equal(await idOf(target, name), ids[index])
    assert.equal(
      await fingerprintImage(target, 'lab/upper:1'),
      await fingerprintImage(source, 'lab/upper:1'),
    )
    await using again = await openSink()
    assert.deepEqual(await exportFrom(target, { names, sink: again.sink }), images)
  })

  await t.test('the classic store of a current Docker makes the same manifests', async () => {
    await using target = await startDockerCtr(CLASSIC_28)
    await loadInto(target, images, byFiles.sink)
    for (const useStoreFiles of [true, false]) {
      await using again = await openSink()
      const found = await exportFrom(target, { names, sink: again.sink, useStoreFiles })
      assert.deepEqual(found, images)
    }
    // By ID the engine leaves all but the first image out of index.json.
    await using unnamed = await openSink()
    const found = await exportFrom(target, { names: ids, sink: unnamed.sink, useStoreFiles: false })
    assert.deepEqual(rootsOf(found).toSorted(), rootsOf(images).toSorted())
  })

  await t.test('a containerd store takes them and keeps the digests of the manifests', async () => {
    await using target = await startDockerCtr()
    await loadInto(target, images, byFiles.sink)
    for (const [index, name] of names.entries()) {
      assert.equal(await idOf(target, name), images[index]?.manifest.digest)
    }
    assert.equal(
      await fingerprintImage(target, 'lab/upper:1'),
      await fingerprintImage(source, 'lab/upper:1'),
    )
    await using again = await openSink()
    const found = await exportFrom(target, { names, sink: again.sink })
    assert.deepEqual(rootsOf(found), rootsOf(images))
  })
})

test('images of a containerd store keep their digests through another one', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'docker-ctr', 'busybox'])) return
  await using source = await startDockerCtr()
  const name = 'lab/quick:1'
  const id = await buildQuickImage(source, { reference: name, message: 'from afar' })
  await using held = await openSink()
  const images = await exportFrom(source, { names: [name, id], sink: held.sink })
  assert.deepEqual(rootsOf(images), [id])
  assert.deepEqual(images[0]?.names, [name])

  await t.test('the same engine has the same image again', async () => {
    await source.dockerOk(['image', 'rm', name])
    assert.deepEqual(await loadInto(source, images, held.sink), [name])
    assert.equal(await idOf(source, name), id)
    assert.equal(await runImage(source, name), 'from afar')
  })

  await t.test('without a name it is there by its ID', async () => {
    await source.dockerOk(['image', 'rm', name])
    const [image] = images
    assert.ok(image)
    assert.deepEqual(await loadInto(source, [{ ...image, names: [] }], held.sink), [id])
    const daemon = await DockerDaemon.connect({ host: source.dockerHost })
    const [dangling] = await daemon.listImages()
    assert.deepEqual([dangling?.id, dangling?.names], [id, []])
    assert.deepEqual(rootsOf(await exportFrom(source, { names: [id], sink: held.sink })), [id])
  })

  await t.test('a classic store runs it under the digest of its config', async () => {
    await using target = await startDockerGd()
    await loadInto(target, images, held.sink)
    const config = images[0]?.blobs.find(({ role }) => role === 'config')
    assert.equal(await idOf(target, name), config?.digest)
    assert.equal(await runImage(target, name), 'from afar')
  })
})

test('podman loads what we write, and we read what podman saves', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'podman', 'busybox'])) return
  await using source = await startDockerGd()
  const ids = [
    await buildQuickImage(source, { reference: 'example.org/lab/quick:1' }),
    await buildOnTop(source, {
      base: 'example.org/lab/quick:1',
      reference: 'example.org/lab/upper:1',
    }),
  ]
  const names = ['example.org/lab/quick:1', 'example.org/lab/upper:1']
  await using held = await openSink()
  const images = await exportFrom(source, { names, sink: held.sink })
  await using folder = await tempDir()
  await using podman = await openPodman()
  const tar = join(folder.path, 'images.tar')
  await pipeline(writeImageArchive(images, held.sink), createWriteStream(tar))
  await podman.podmanOk(['load', '--input', tar])
  for (const [index, name] of names.entries()) {
    const id = await podman.podmanOk(['image', 'inspect', '--format', '{{.Id}}', name])
    assert.equal(`sha256:${id}`, ids[index])
  }
  for (const format of ['docker-archive', 'oci-archive']) {
    const saved = join(folder.path, format)
    await podman.podmanOk(['save', '--format', format, '--output', saved, names[1] ?? ''])
    await using again = await openSink()
    const [image] = await importPath(saved, again.sink)
    assert.deepEqual(image?.names, [names[1]])
    const isSame = image?.manifest.digest === images[1]?.manifest.digest
    assert.equal(isSame, format === 'docker-archive')
  }
})

test('events go on through a restart of the engine', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'busybox'])) return
  await using engine = await startDockerGd()
  const id = await buildQuickImage(engine, { reference: 'lab/quick:1' })
  const daemon = await DockerDaemon.connect({ host: engine.dockerHost })
  const controller = new AbortController()
  const events = daemon.events({ signal: controller.signal, sinceMs: Date.now() })
  const next = async () => {
    const { value } = await events.next()
    assert.ok(value)
    return value.action === 'resync' ? [value.action] : [value.action, value.id, value.name]
  }
  const tagged = next()
  await engine.dockerOk(['tag', 'lab/quick:1', 'lab/quick:2'])
  assert.deepEqual(await tagged, ['tag', id, 'lab/quick:2'])
  // Our own exports are no news.
  await using held = await openSink()
  await exportFrom(engine, { names: ['lab/quick:2'], sink: held.sink, useStoreFiles: false })
  const resynced = next()
  await engine.kill()
  await engine.restart()
  assert.deepEqual(await resynced, ['resync'])
  const untagged = next()
  await engine.dockerOk(['image', 'rm', 'lab/quick:2'])
  assert.deepEqual((await untagged).slice(0, 2), ['untag', id])
  const reason = new Error('enough')
  const last = events.next()
  controller.abort(reason)
  await assert.rejects(last, (error) => error === reason)
})

test('an engine that stops in the middle of an export or a load is unavailable', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'debian-tree'])) return
  await using engine = await startDockerGd()
  await buildStandardImage(engine, { reference: 'lab/standard:1', incompressibleMib: 8 })
  const daemon = await DockerDaemon.connect({ host: engine.dockerHost })
  await using held = await openSink()
  const tar = await daemon.exportImages(['lab/standard:1'])
  const reading = readImageArchive(tar, held.sink)
  await Promise.all([assert.rejects(reading, { code: 'ENGINE_UNAVAILABLE' }), engine.kill()])
  await assert.rejects(daemon.listImages(), { code: 'ENGINE_UNAVAILABLE' })

  await engine.restart()
  const images = await exportImages({ daemon, names: ['lab/standard:1'], sink: held.sink })
  let sent = 0
  async function* slowly() {
    for await (const chunk of writeImageArchive(images, held.sink)) {
      sent += (chunk as Buffer).length
      if (sent > 16 * 1024 * 1024) await engine.kill()
      yield chunk as Buffer
    }
  }
  const loading = daemon.loadImages(Readable.from(slowly(), { objectMode: false }))
  await assert.rejects(loading, { code: 'ENGINE_UNAVAILABLE' })
})
