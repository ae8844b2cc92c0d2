import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf, hexOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { Publications, type Publication } from './publications.ts'

const [ROOT, OTHER, LAYER, SHARED] = ['root', 'other', 'layer', 'shared'].map(digestOf) as [
  Digest,
  Digest,
  Digest,
  Digest,
]

function publicationOf(digest: Digest, blobs: readonly Digest[]): Publication {
  const mediaType = MEDIA_TYPES.ociManifest
  const image = { digest, mediaType, size: 100, blobs: [], addedAtMs: 1 }
  const names = ['docker.io/library/app:1']
  const about = { digest, isOwn: false, publishedAtMs: 2, source: 'docker.io/a', checkedAtMs: 3 }
  return { ...about, images: [image], blobs, names, records: [] }
}

test('what was published is there after a restart, and what was removed is not', async () => {
  await using dir = await tempDir()
  const path = join(dir.path, 'images')
  const first = await Publications.open(path)
  assert.ok(first.isEmpty)
  await assert.rejects(readdir(path), { code: 'ENOENT' })
  const wanted = publicationOf(ROOT, [LAYER, SHARED])
  await first.put(wanted)
  await first.put(publicationOf(OTHER, [SHARED]))
  await first.remove(OTHER)
  const again = await Publications.open(path)
  assert.deepEqual(again.all(), [wanted])
})

test('a part is public as long as any image is that has it', async () => {
  await using dir = await tempDir()
  const publications = await Publications.open(dir.path)
  await publications.put(publicationOf(ROOT, [LAYER, SHARED]))
  await publications.put(publicationOf(OTHER, [SHARED]))
  const roots = (digest: Digest) => publications.holding(digest).map((each) => each.digest)
  assert.deepEqual(roots(SHARED), [ROOT, OTHER])
  await publications.remove(ROOT)
  assert.deepEqual([roots(LAYER), roots(SHARED), roots(ROOT)], [[], [OTHER], []])
  // what is published anew has other parts
  await publications.put(publicationOf(OTHER, [LAYER]))
  assert.deepEqual([roots(LAYER), roots(SHARED)], [[OTHER], []])
})

test('a change that comes with a removal, or after it, does not bring an image back', async () => {
  await using dir = await tempDir()
  const publications = await Publications.open(dir.path)
  await publications.put(publicationOf(ROOT, [LAYER]))
  const rename = () => publications.update(ROOT, (before) => ({ ...before, names: [] }))
  const [wasChanged, , isChanged] = await Promise.all([
    rename(),
    publications.remove(ROOT),
    rename(),
  ])
  assert.deepEqual([wasChanged, isChanged], [true, false])
  assert.deepEqual(await readdir(dir.path), [])
  assert.ok((await Publications.open(dir.path)).isEmpty)
})

const whole = JSON.stringify(publicationOf(ROOT, [LAYER]))
for (const { what, text } of [
  { what: 'cut off', text: whole.slice(0, -20) },
  { what: 'empty', text: '' },
  { what: 'no object', text: '[1]' },
  { what: 'of another image', text: JSON.stringify(publicationOf(OTHER, [LAYER])) },
  { what: 'with a digest that is none', text: whole.replaceAll(LAYER, 'sha256:../../x') },
  { what: 'without its word on whose it is', text: whole.replace('"isOwn":false,', '') },
  {
    what: 'neither somebody’s own nor from a registry',
    text: whole.replace('"source":"docker.io/a",', ''),
  },
  { what: 'with a list that is none', text: whole.replace('"images":[', '"images":{},"x":[') },
]) {
  test(`of a file that is ${what} nothing is public, and the others are`, async () => {
    await using dir = await tempDir()
    const publications = await Publications.open(dir.path)
    await publications.put(publicationOf(OTHER, [SHARED]))
    const path = join(dir.path, `${hexOf(ROOT)}.json`)
    await writeFile(path, text)
    await writeFile(join(dir.path, `${hexOf(ROOT)}.json.0123.tmp`), whole)
    const again = await Publications.open(dir.path)
    assert.deepEqual(
      again.all().map(({ digest }) => digest),
      [OTHER],
    )
    // what a person may mend stays, what a crash left does not
    assert.equal(await readFile(path, 'utf8'), text)
    assert.equal((await readdir(dir.path)).length, 2)
  })
}
