import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Level } from 'level'

import { SeededRandom } from '../testing/seeded-random.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { crc32c } from './crc32c.ts'
import { findUnsoundTables, isSoundTable } from './table-check.ts'

/** A LevelDB with one table of several blocks. */
async function makeTables(path: string): Promise<void> {
  const level = new Level(path, { compression: false })
  for (let index = 0; index < 300; index += 1) {
    await level.put(`key ${index}`, `value ${index} `.repeat(10))
  }
  await level.close()
  // what was in the log becomes a table
  await level.open()
  await level.close()
}

async function tableOf(path: string): Promise<string> {
  const name = (await readdir(path)).find((name) => name.endsWith('.ldb'))
  assert.ok(name)
  return join(path, name)
}

test('knows the check value of RFC 3720', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
})

test('finds the tables that LevelDB wrote sound', async () => {
  await using dir = await tempDir()
  await makeTables(dir.path)
  assert.ok((await readFile(await tableOf(dir.path))).length > 16_384)
  assert.deepEqual(await findUnsoundTables(dir.path), [])
})

test('finds any flipped bit in a table, but for the padding of its footer', async () => {
  await using dir = await tempDir()
  await makeTables(dir.path)
  const table = await readFile(await tableOf(dir.path))
  const random = new SeededRandom(1)
  for (let round = 0; round < 500; round += 1) {
    const at = random.below(table.length - 48)
    const flipped = Buffer.from(table)
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8))
    assert.equal(isSoundTable(flipped), false, `byte ${at}`)
  }
})

test('finds a table that is cut off, empty or garbage, and answers to any footer', async () => {
  await using dir = await tempDir()
  await makeTables(dir.path)
  const path = await tableOf(dir.path)
  const table = await readFile(path)
  const random = new SeededRandom(2)
  for (const wrong of [
    table.subarray(0, -1),
    table.subarray(1),
    Buffer.alloc(0),
    random.bytes(99),
  ]) {
    assert.equal(isSoundTable(wrong), false)
  }
  for (let round = 0; round < 500; round += 1) {
    const footer = Buffer.concat([random.bytes(40), table.subarray(-8)])
    assert.equal(isSoundTable(Buffer.concat([table.subarray(0, -48), footer])), false)
  }
  await writeFile(path, table.subarray(0, -1))
  assert.equal((await findUnsoundTables(dir.path)).length, 1)
})

test('finds nothing where there is no folder', async () => {
  await using dir = await tempDir()
  assert.deepEqual(await findUnsoundTables(join(dir.path, 'none')), [])
})
