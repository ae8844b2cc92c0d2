import assert from 'node:assert/strict'
import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Level } from 'level'

import { isOperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { Catalog } from './catalog.ts'
import type { ImageRecord } from './image-records.ts'
import { blobKey, keyOf, SCHEMA_KEY } from './keys.ts'
import { sealValue } from './sealed-value.ts'

const layer = {
  digest: digestOf('layer'),
  size: 10,
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  role: 'layer',
} as const
const image: ImageRecord = {
  digest: digestOf('image'),
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  size: 500,
  blobs: [layer],
  addedAtMs: 5,
}

/** A catalog with one image and one pin in it, closed. */
async function closedCatalog() {
  const dir = await tempDir()
  const path = join(dir.path, 'catalog')
  const recordsPath = join(dir.path, 'records')
  const open = () => Catalog.open({ path, recordsPath })
  const catalog = await open()
  await catalog.putImage(image)
  await catalog.pin(image.digest, 'seeded')
  await catalog.close()
  return {
    path,
    parent: dir.path,
    open,
    /** Changes entries behind the catalog's back. */
    async edit(change: (level: Level<string, Buffer>) => Promise<void>) {
      const level = new Level<string, Buffer>(path, {
        valueEncoding: 'buffer',
        compression: false,
      })
      await level.open()
      await change(level)
      await level.close()
    },
    async removeFiles(pattern: RegExp) {
      for (const name of await readdir(path)) {
        if (pattern.test(name)) await rm(join(path, name))
      }
    },
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
}

test('is fresh when it is new, and not when it is opened again', async () => {
  await using dir = await tempDir()
  const where = { path: join(dir.path, 'deep/catalog'), recordsPath: join(dir.path, 'records') }
  const first = await Catalog.open(where)
  assert.deepEqual([first.isFresh, first.wasCutOff], [true, false])
  await first.close()
  await using second = await Catalog.open(where)
  assert.deepEqual([second.isFresh, second.wasCutOff], [false, false])
})

test('takes a damaged value for absent, and is fresh', async () => {
  await using place = await closedCatalog()
  const key = keyOf('image', image.digest)
  await place.edit((level) => level.put(key, Buffer.from('12345{"digest"')))
  {
    await using catalog = await place.open()
    assert.equal(catalog.isFresh, true)
    assert.equal(await catalog.image(image.digest), undefined)
    assert.deepEqual(await Array.fromAsync(catalog.images()), [])
    assert.equal((await Array.fromAsync(catalog.pins())).length, 1)
    assert.deepEqual(await catalog.imagesWithBlob(layer.digest), [])
  }
  await using again = await place.open()
  assert.equal(again.isFresh, false)
})

test('takes a right value under a wrong key for absent', async () => {
  await using place = await closedCatalog()
  const sealed = sealValue(keyOf('image', image.digest), image)
  await place.edit((level) => level.put(keyOf('image', digestOf('wrong')), sealed))
  await using catalog = await place.open()
  assert.equal(await catalog.image(digestOf('wrong')), undefined)
  assert.deepEqual(await catalog.image(image.digest), image)
})

test('keeps a pin whose value is damaged', async () => {
  await using place = await closedCatalog()
  await place.edit((level) => level.put(keyOf('pin', image.digest, 'seeded'), Buffer.from('x')))
  {
    await using catalog = await place.open()
    assert.deepEqual(await Array.fromAsync(catalog.pins()), [
      { digest: image.digest, reason: 'seeded' },
    ])
  }
  await using again = await place.open()
  assert.equal(again.isFresh, false)
})

test('notices an entry that is missing since the orderly end before', async () => {
  await using place = await closedCatalog()
  await place.edit((level) => level.del(blobKey(layer.digest, image.digest)))
  await using catalog = await place.open()
  assert.deepEqual([catalog.isFresh, catalog.wasCutOff], [true, false])
})

test('takes tables that an end cut off in their making for what they are', async () => {
  await using place = await closedCatalog()
  const pieces = Buffer.alloc(20 * 2000, 7)
  for (let round = 0; round < 3; round += 1) {
    const catalog = await place.open()
    // several times LevelDB's buffer, so that it is writing tables when it is closed
    const puts = Array.from({ length: 200 }, (_, index) =>
      catalog.putTorrent({
        digest: digestOf(`blob ${round} ${index}`),
        size: 2000 * 1024,
        pieceLength: 1024,
        infoHash: 'a'.repeat(40),
        pieces,
      }),
    )
    await Promise.all(puts)
    await catalog.close()
  }
  await using again = await place.open()
  assert.equal(again.isFresh, false)
  assert.ok((await readdir(place.parent)).every((name) => !name.includes('damaged')))
})

test('notices that all went back to an earlier orderly end', async () => {
  await using place = await closedCatalog()
  await using earlier = await tempDir()
  await cp(place.path, earlier.path, { recursive: true })
  await (await place.open()).close()
  await rm(place.path, { recursive: true })
  await cp(earlier.path, place.path, { recursive: true })
  await using catalog = await place.open()
  assert.equal(catalog.isFresh, true)
})

test('notices an image that is missing from above its blobs, though the node before was cut off', async () => {
  await using place = await closedCatalog()
  await place.edit((level) => level.batch().del('closed').del(keyOf('image', image.digest)).write())
  await using catalog = await place.open()
  assert.equal(catalog.isFresh, true)
  assert.deepEqual(await catalog.imagesWithBlob(layer.digest), [])
})

test('knows that the node before was cut off', async () => {
  await using place = await closedCatalog()
  await place.edit((level) => level.del('closed'))
  await using catalog = await place.open()
  assert.deepEqual([catalog.isFresh, catalog.wasCutOff], [false, true])
})

test('begins anew behind a layout that it does not know, and keeps the old one aside', async () => {
  await using place = await closedCatalog()
  await place.edit((level) => level.put(SCHEMA_KEY, sealValue(SCHEMA_KEY, 999)))
  await using catalog = await place.open()
  assert.equal(catalog.isFresh, true)
  assert.deepEqual(await Array.fromAsync(catalog.images()), [])
  const aside = (await readdir(place.parent)).filter((name) => /^catalog\.damaged-\d+$/.test(name))
  assert.equal(aside.length, 1)
})

test('keeps only the newest of what was moved aside', async () => {
  await using place = await closedCatalog()
  for (let round = 0; round < 3; round += 1) {
    await place.removeFiles(/^MANIFEST/)
    await (await place.open()).close()
  }
  const names = await readdir(place.parent)
  assert.equal(names.filter((name) => name.startsWith('catalog.damaged')).length, 1)
})

const DAMAGES: Record<string, (place: Awaited<ReturnType<typeof closedCatalog>>) => Promise<void>> =
  {
    'CURRENT is gone': (place) => place.removeFiles(/^CURRENT$/),
    'CURRENT is garbage': (place) => writeFile(join(place.path, 'CURRENT'), 'nothing\n'),
    'the MANIFEST is gone': (place) => place.removeFiles(/^MANIFEST/),
    'the LOCK is gone': (place) => place.removeFiles(/^LOCK$/),
    'the logs are gone': (place) => place.removeFiles(/\.log$/),
    'everything is gone': (place) => rm(place.path, { recursive: true }),
    'a file is in its place': async (place) => {
      await rm(place.path, { recursive: true })
      await writeFile(place.path, 'not a folder')
    },
    'it was marked as damaged': (place) => writeFile(`${place.path}.damaged`, ''),
    'CURRENT is a folder': async (place) => {
      await place.removeFiles(/^CURRENT$/)
      await mkdir(join(place.path, 'CURRENT'))
    },
  }
for (const [what, damage] of Object.entries(DAMAGES)) {
  test(`opens and works when ${what}`, async () => {
    await using place = await closedCatalog()
    await damage(place)
    await using catalog = await place.open()
    const isWhole = (await catalog.image(image.digest)) !== undefined
    assert.ok(catalog.isFresh || isWhole)
    await catalog.putImage(image)
    assert.deepEqual(await catalog.image(image.digest), image)
    await catalog.close()
    await using again = await place.open()
    assert.equal(again.isFresh, false)
    assert.deepEqual(await again.image(image.digest), image)
  })
}

test('waits for another that has it open', async () => {
  await using place = await closedCatalog()
  const first = await place.open()
  const second = place.open()
  await first.close()
  await (await second).close()
})

test('gives up after two seconds while another has it open, and moves nothing', async () => {
  await using place = await closedCatalog()
  await using first = await place.open()
  const startedAt = performance.now()
  await assert.rejects(place.open(), (error) => isOperationError(error, 'DATA_DIR_IN_USE'))
  assert.ok(performance.now() - startedAt >= 2000)
  assert.deepEqual(await first.image(image.digest), image)
  const names = await readdir(place.parent)
  assert.ok(names.every((name) => !name.includes('damaged')))
})
