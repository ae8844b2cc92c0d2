import assert from 'node:assert/strict'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { Level } from 'level'

import { SeededRandom } from '../testing/seeded-random.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { crc32c } from './crc32c.ts'
import { liveTables } from './live-tables.ts'
import { findUnsoundTables, isSoundTable, removeUnsoundTables } from './table-check.ts'

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

test('leaves out tables that a killed node left half written', async () => {
  await using dir = await tempDir()
  await makeTables(dir.path)
  const table = await readFile(await tableOf(dir.path))
  await writeFile(join(dir.path, '000999.ldb'), table.subarray(0, 5000))
  assert.deepEqual(await findUnsoundTables(dir.path), [])
  await removeUnsoundTables(dir.path)
  const names = (await readdir(dir.path)).filter((name) => name.endsWith('.ldb'))
  assert.deepEqual(names, [basename(await tableOf(dir.path))])
})

/** classic-level has it, and `level` does not say so: in a browser there is no such thing. */
interface Compactable {
  compactRange(start: string, end: string): Promise<void>
}

test('follows the manifest through many compactions', async () => {
  await using dir = await tempDir()
  const level = new Level(dir.path, { compression: false, writeBufferSize: 64 * 1024 })
  for (let index = 0; index < 4000; index += 1) {
    await level.put(`key ${(index * 7919) % 4000}`, 'value '.repeat(40))
  }
  // A compaction that the end cuts off would leave a table behind that counts for nothing.
  await (level as unknown as Compactable).compactRange('', '~')
  await level.close()
  await level.open()
  await level.close()
  const wanted = (await readdir(dir.path)).filter((name) => name.endsWith('.ldb'))
  const live = [...(await liveTables(dir.path))].map((number) => `${number}.ldb`.padStart(10, '0'))
  assert.deepEqual(live.sort(), wanted.sort())
})

test('knows no tables where the manifest is missing, damaged or cut off', async () => {
  await using dir = await tempDir()
  await makeTables(dir.path)
  assert.equal((await liveTables(dir.path)).size, 1)
  const current = (await readFile(join(dir.path, 'CURRENT'), 'utf8')).trim()
  const manifest = await readFile(join(dir.path, current))
  const flipped = Buffer.from(manifest)
  flipped[manifest.length - 1] = (flipped[manifest.length - 1] ?? 0) ^ 1
  for (const wrong of [flipped, manifest.subarray(0, 5), Buffer.alloc(0), Buffer.alloc(99)]) {
    await writeFile(join(dir.path, current), wrong)
    assert.equal((await liveTables(dir.path)).size, 0)
  }
  await rm(join(dir.path, 'CURRENT'))
  assert.equal((await liveTables(dir.path)).size, 0)
})

test('finds nothing where there is no folder', async () => {
  await using dir = await tempDir()
  assert.deepEqual(await findUnsoundTables(join(dir.path, 'none')), [])
})
