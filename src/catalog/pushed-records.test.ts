import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { sha512DigestOf } from '../oci/sha512-digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { Catalog } from './catalog.ts'

const [one, two] = [digestOf('one'), digestOf('two')]

async function openCatalog(dir: string): Promise<Catalog> {
  return Catalog.open({ path: join(dir, 'catalog'), recordsPath: join(dir, 'records') })
}

test('knows what was pushed where, and what was deleted there, after a restart', async () => {
  await using dir = await tempDir()
  {
    await using catalog = await openCatalog(dir.path)
    const { pushed } = catalog
    assert.ok(!(await pushed.isRepository('local/a')))
    await pushed.hold('local/a', one)
    await pushed.hold('local/a', two)
    await pushed.hold('local/ab', one)
    await pushed.putTag('local/a', '1', one)
    await pushed.putTag('local/a', '2', two)
    await pushed.deleteTag('local/a', '2')
    await pushed.deleteContent('local/a', two)
  }
  await using catalog = await openCatalog(dir.path)
  const { pushed } = catalog
  assert.ok(!catalog.isFresh)
  assert.ok(await pushed.isRepository('local/a'))
  assert.ok(!(await pushed.isRepository('local')))
  assert.deepEqual(await pushed.repositoriesWith(one), ['local/a', 'local/ab'])
  assert.deepEqual(await pushed.repositoriesWith(two), [])
  assert.ok(await pushed.isHeld('local/a', one))
  assert.ok(!(await pushed.isHeld('local/a', two)))
  assert.deepEqual(await Array.fromAsync(pushed.tags('local/a')), [{ tag: '1', digest: one }])
  assert.equal(await pushed.deletedAtMs('local/a', one), undefined)
  for (const what of [two, '2']) {
    assert.ok(Math.abs(((await pushed.deletedAtMs('local/a', what)) ?? 0) - Date.now()) < 60_000)
  }
})

test('takes a deletion back with the next push', async () => {
  await using dir = await tempDir()
  await using catalog = await openCatalog(dir.path)
  const { pushed } = catalog
  await pushed.deleteContent('a', one)
  await pushed.deleteTag('a', '1')
  await pushed.hold('a', one)
  await pushed.putTag('a', '1', one)
  assert.equal(await pushed.deletedAtMs('a', one), undefined)
  assert.equal(await pushed.deletedAtMs('a', '1'), undefined)
  assert.equal(await pushed.tag('a', '1'), one)
})

test('knows what refers to a subject, of any algorithm', async () => {
  await using dir = await tempDir()
  await using catalog = await openCatalog(dir.path)
  const subject = sha512DigestOf('subject')
  await catalog.referrers.put(subject, two)
  await catalog.referrers.put(subject, one)
  await catalog.referrers.put(one, two)
  assert.deepEqual(await catalog.referrers.of(subject), [one, two].sort())
  await catalog.referrers.remove(subject, two)
  assert.deepEqual(await catalog.referrers.of(subject), [one])
  assert.deepEqual(await catalog.referrers.of(two), [])
})

test('knows what a digest of another algorithm means', async () => {
  await using dir = await tempDir()
  await using catalog = await openCatalog(dir.path)
  await catalog.aliases.put(sha512DigestOf('one'), one)
  assert.equal(await catalog.aliases.get(sha512DigestOf('one')), one)
  assert.equal(await catalog.aliases.get(sha512DigestOf('two')), undefined)
})
