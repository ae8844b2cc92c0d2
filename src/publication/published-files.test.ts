import assert from 'node:assert/strict'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf, hexOf, type Digest } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { PublishedFiles } from './published-files.ts'

test('the folder has what is published, and nothing else, whatever was there', async () => {
  await using dir = await tempDir()
  const folder = join(dir.path, 'blobs/public')
  const files = new PublishedFiles(folder)
  await files.open()
  assert.deepEqual(await readdir(folder), [])
  const sourceOf = (digest: Digest) => join(dir.path, `${hexOf(digest)}.blob`)
  const [one, two, gone] = ['one', 'two', 'gone'].map(digestOf) as [Digest, Digest, Digest]
  await writeFile(sourceOf(one), 'one')
  await writeFile(sourceOf(two), 'two')
  await writeFile(join(folder, 'foreign'), '')
  await files.keep(new Set([one, two, gone]), sourceOf)
  assert.deepEqual(new Set(await readdir(folder)), new Set([one, two].map(hexOf)))
  await files.keep(new Set([two]), sourceOf)
  assert.deepEqual(await readdir(folder), [hexOf(two)])
  assert.equal(await readFile(files.pathOf(two), 'utf8'), 'two')
  assert.equal(await readFile(sourceOf(one), 'utf8'), 'one')

  // a blob that the store has anew is linked anew, one that it lost goes
  await rm(sourceOf(two))
  await writeFile(sourceOf(two), 'TWO')
  await files.keep(new Set([two]), sourceOf)
  assert.equal(await readFile(files.pathOf(two), 'utf8'), 'TWO')
  await rm(sourceOf(two))
  await files.keep(new Set([two]), sourceOf)
  assert.deepEqual(await readdir(folder), [])
  await files.keep(new Set(), sourceOf)
  await assert.rejects(readdir(folder), { code: 'ENOENT' })
})
