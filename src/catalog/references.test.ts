import assert from 'node:assert/strict'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { digestOf } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { Catalog } from './catalog.ts'

const NAME = 'docker.io/library/app:1'
const NODE = 'a'.repeat(64)
const OTHER_NODE = 'b'.repeat(64)

function recordOf(sequence: number, nodeId = NODE, name = NAME): SignedReferenceRecord {
  return {
    name,
    digest: digestOf(`${name} ${sequence}`),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: 500,
    sequence,
    expiresAtMs: 86_400_000,
    nodeId,
    nodeName: 'somewhere',
    signature: 'c'.repeat(128),
    mac: 'd'.repeat(64),
  }
}

/** A catalog that can be opened again and again in one place. */
async function placeOfCatalog() {
  const dir = await tempDir()
  const path = join(dir.path, 'catalog')
  const recordsPath = join(dir.path, 'records')
  return {
    path,
    recordsPath,
    open: () => Catalog.open({ path, recordsPath }),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
}

test('keeps what every signer says about a name', async () => {
  await using place = await placeOfCatalog()
  await using catalog = await place.open()
  const longer = recordOf(7, NODE, `${NAME}0`)
  for (const record of [recordOf(5), recordOf(3, OTHER_NODE), longer]) {
    assert.equal(await catalog.putReference(record), true)
  }
  assert.deepEqual(await catalog.references(NAME), [recordOf(5), recordOf(3, OTHER_NODE)])
  assert.equal((await Array.fromAsync(catalog.allReferences())).length, 3)
  assert.equal(await catalog.lastSequence(NAME, NODE), 5)
  assert.equal(await catalog.lastSequence(NAME, 'e'.repeat(64)), undefined)
})

test('refuses a record whose sequence is not above the highest ever seen', async () => {
  await using place = await placeOfCatalog()
  await using catalog = await place.open()
  await catalog.putReference(recordOf(5))
  assert.equal(await catalog.putReference(recordOf(5)), false)
  assert.equal(await catalog.putReference(recordOf(4)), false)
  assert.equal(await catalog.putReference(recordOf(6)), true)
  assert.deepEqual(await catalog.references(NAME), [recordOf(6)])
})

test('takes only the highest of records that come at once', async () => {
  await using place = await placeOfCatalog()
  await using catalog = await place.open()
  const sequences = [4, 9, 2, 9, 7]
  const taken = await Promise.all(sequences.map((number) => catalog.putReference(recordOf(number))))
  assert.deepEqual(taken, [true, true, false, false, false])
  assert.equal(await catalog.lastSequence(NAME, NODE), 9)
})

test('remembers the highest sequence of a name that was removed', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    await catalog.putReference(recordOf(5))
    await catalog.removeReference(NAME, NODE)
    await catalog.removeReference('docker.io/library/never:1', NODE)
    assert.deepEqual(await catalog.references(NAME), [])
  }
  await rm(place.path, { recursive: true })
  await using catalog = await place.open()
  assert.deepEqual(await Array.fromAsync(catalog.allReferences()), [])
  assert.equal(await catalog.putReference(recordOf(5)), false)
  assert.equal(await catalog.putReference(recordOf(6)), true)
})

test('brings names back when LevelDB is lost', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    await catalog.putReference(recordOf(5))
    await catalog.putReference(recordOf(6))
    await catalog.putReference(recordOf(3, OTHER_NODE))
  }
  await rm(place.path, { recursive: true })
  await using catalog = await place.open()
  assert.equal(catalog.isFresh, true)
  assert.deepEqual(await catalog.references(NAME), [recordOf(6), recordOf(3, OTHER_NODE)])
  assert.equal(await catalog.putReference(recordOf(6)), false)
})

test('brings the files back when they are lost or damaged', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    await catalog.putReference(recordOf(5))
    await catalog.putReference(recordOf(3, OTHER_NODE))
  }
  const [first = '', second = ''] = await readdir(place.recordsPath)
  await rm(join(place.recordsPath, first))
  const text = await readFile(join(place.recordsPath, second), 'utf8')
  await writeFile(join(place.recordsPath, second), text.replace(/"sequence":/, '"sequence":1'))
  await writeFile(join(place.recordsPath, 'x.json.tmp'), 'left by a crash')
  await (await place.open()).close()
  assert.deepEqual((await readdir(place.recordsPath)).sort(), [first, second].sort())
  await rm(place.path, { recursive: true })
  await using catalog = await place.open()
  assert.deepEqual(await catalog.references(NAME), [recordOf(5), recordOf(3, OTHER_NODE)])
  assert.equal(await catalog.lastSequence(NAME, NODE), 5)
  assert.equal(await catalog.lastSequence(NAME, OTHER_NODE), 3)
})

test('believes the file where it is ahead of LevelDB', async () => {
  await using place = await placeOfCatalog()
  await using elsewhere = await placeOfCatalog()
  await using ahead = await Catalog.open({ path: elsewhere.path, recordsPath: place.recordsPath })
  await (await place.open()).close()
  // as a crash between the two writes would leave it
  await ahead.putReference(recordOf(8))
  await using catalog = await place.open()
  assert.deepEqual(await catalog.references(NAME), [recordOf(8)])
})
