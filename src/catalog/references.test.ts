import assert from 'node:assert/strict'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { digestOf } from '../oci/digest.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { silentLog } from '../telemetry/log.ts'
import { Catalog } from './catalog.ts'
import { CatalogDatabase } from './catalog-database.ts'
import { ReferenceFiles } from './reference-files.ts'
import { ReferenceRecords } from './reference-records.ts'
import { MAX_SIGNERS_PER_NAME } from './reference-rules.ts'

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

function signer(number: number): string {
  return String(number).padStart(64, '0')
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

test('takes a record that says the same for longer, and no other of the same sequence', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    const longer = { ...recordOf(5), expiresAtMs: 90_000_000 }
    await catalog.putReference(recordOf(5))
    assert.equal(await catalog.putReference({ ...longer, digest: digestOf('other') }), false)
    assert.equal(await catalog.putReference(longer), true)
    assert.equal(await catalog.putReference(recordOf(5)), false)
  }
  await rm(place.path, { recursive: true })
  await using catalog = await place.open()
  assert.equal((await catalog.references(NAME))[0]?.expiresAtMs, 90_000_000)
})

test('hears so many signers of a name, forgets who decided first, and lets none of those go back', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    await catalog.putReference(recordOf(1))
    for (let sequence = 100; sequence < 200; sequence += 1) {
      assert.equal(await catalog.hearReference(recordOf(sequence, signer(sequence)), NODE), true)
    }
    const records = await catalog.references(NAME)
    const sequences = new Set(records.map(({ sequence }) => sequence))
    const kept = Array.from({ length: MAX_SIGNERS_PER_NAME - 1 }, (_, back) => 199 - back)
    // its own is kept, however old
    assert.deepEqual(sequences, new Set([1, ...kept]))
    assert.equal(await catalog.hearReference(recordOf(100, signer(100)), NODE), false)
  }
  await using catalog = await place.open()
  assert.equal(await catalog.hearReference(recordOf(100, signer(100)), NODE), false)
  // whoever is forgotten for good may have come to shut the others out
  await catalog.forgetSigner(signer(199))
  assert.equal(await catalog.hearReference(recordOf(100, signer(100)), NODE), true)
})

test('the floor under forgotten signers outlives LevelDB, though there is room again', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    for (let sequence = 100; sequence < 166; sequence += 1) {
      await catalog.hearReference(recordOf(sequence, signer(sequence)), NODE)
    }
  }
  for (const file of await readdir(place.recordsPath)) {
    const path = join(place.recordsPath, file)
    if (!(await readFile(path, 'utf8')).includes('"nodeId":""')) await rm(path)
  }
  await rm(place.path, { recursive: true })
  await using catalog = await place.open()
  assert.deepEqual(await catalog.references(NAME), [])
  assert.equal(await catalog.hearReference(recordOf(100, signer(100)), NODE), false)
  assert.equal(await catalog.hearReference(recordOf(102, signer(102)), NODE), true)
})

test('hears one signer on so many names', async () => {
  await using place = await placeOfCatalog()
  for (const isAgain of [false, true]) {
    const { database } = await CatalogDatabase.open(place.path, silentLog)
    await using _ = { [Symbol.asyncDispose]: () => database.close() }
    const files = await ReferenceFiles.open(place.recordsPath, silentLog)
    const records = new ReferenceRecords(database, files, { maxNamesPerSigner: 3 })
    await records.reconcile()
    const taken = []
    for (let at = 0; at < 5; at += 1) {
      const sequence = isAgain ? 6 : 5
      taken.push(await records.hear(recordOf(sequence, NODE, `${NAME}${at}`), OTHER_NODE))
    }
    assert.deepEqual(taken, [true, true, true, false, false])
    assert.equal(await records.hear(recordOf(isAgain ? 6 : 5, OTHER_NODE), NODE), true)
  }
})

test('what a clock far ahead signed counts for nothing, unless it is all there is', async (t) => {
  await using place = await placeOfCatalog()
  await using catalog = await place.open()
  const future = Date.now() + 365 * 86_400e3
  await catalog.putReference(recordOf(future))
  assert.deepEqual(await catalog.references(NAME), [recordOf(future)])
  await catalog.putReference(recordOf(5, OTHER_NODE))
  assert.deepEqual(await catalog.references(NAME), [recordOf(5, OTHER_NODE)])
  assert.equal(await catalog.putReference(recordOf(6)), true)
  assert.deepEqual(await catalog.references(NAME), [recordOf(6), recordOf(5, OTHER_NODE)])
  t.mock.timers.enable({ apis: ['Date'], now: future })
  assert.equal(await catalog.putReference(recordOf(5)), false)
})

test('forgets a signer for good, and only that one', async () => {
  await using place = await placeOfCatalog()
  {
    await using catalog = await place.open()
    await catalog.putReference(recordOf(5))
    await catalog.putReference(recordOf(5, NODE, `${NAME}0`))
    await catalog.putReference(recordOf(3, OTHER_NODE))
    await catalog.forgetSigner(NODE)
    assert.deepEqual(await Array.fromAsync(catalog.allReferences()), [recordOf(3, OTHER_NODE)])
    assert.equal(await catalog.hearReference(recordOf(9), OTHER_NODE), false)
  }
  for (const isLost of [false, true]) {
    if (isLost) await rm(place.path, { recursive: true })
    await using catalog = await place.open()
    assert.deepEqual(await Array.fromAsync(catalog.allReferences()), [recordOf(3, OTHER_NODE)])
    assert.equal(await catalog.hearReference(recordOf(9), OTHER_NODE), false)
  }
  await using catalog = await place.open()
  assert.equal(await catalog.hearReference(recordOf(4, OTHER_NODE), NODE), true)
})
