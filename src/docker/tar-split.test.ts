import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { gzipSync } from 'node:zlib'

import { measureTarSplit, readTarSplit } from './tar-split.ts'

async function makeTarSplit(t: TestContext, lines: readonly object[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ddocker-tar-split-'))
  t.after(async () => await rm(folder, { recursive: true }))
  const path = join(folder, 'tar-split.json.gz')
  await writeFile(path, gzipSync(lines.map((line) => `${JSON.stringify(line)}\n`).join('')))
  return path
}

const LINES = [
  { type: 2, payload: Buffer.from('header').toString('base64'), position: 0 },
  { type: 1, name: 'etc/', payload: null, position: 1 },
  { type: 1, name: 'etc/motd', size: 5, payload: 'x', position: 2 },
  { type: 2, payload: '', position: 3 },
  { type: 2, payload: null, position: 4 },
  { type: 1, name_raw: Buffer.from([0x62, 0xff]).toString('base64'), size: 7, position: 5 },
]

test('reads segments and files, names that are no UTF-8 included', async (t) => {
  const path = await makeTarSplit(t, LINES)
  assert.deepEqual(await Array.fromAsync(readTarSplit(path)), [
    { kind: 'segment', bytes: Buffer.from('header') },
    { kind: 'file', name: Buffer.from('etc/motd'), size: 5 },
    { kind: 'segment', bytes: Buffer.alloc(0) },
    { kind: 'segment', bytes: Buffer.alloc(0) },
    { kind: 'file', name: Buffer.from([0x62, 0xff]), size: 7 },
  ])
})

test('measures the tar that will come out', async (t) => {
  assert.equal(await measureTarSplit(await makeTarSplit(t, LINES)), 6 + 5 + 7)
})

for (const [what, line] of [
  ['a negative size', { type: 1, name: 'a', size: -1 }],
  ['no name', { type: 1, size: 1 }],
  ['another type', { type: 3 }],
  ['a payload that is no text', { type: 2, payload: 5 }],
] as const) {
  test(`refuses an entry with ${what}`, async (t) => {
    const path = await makeTarSplit(t, [line])
    await assert.rejects(measureTarSplit(path), { code: 'ARCHIVE_INVALID' })
  })
}

test('says so when the file is not there', async () => {
  await assert.rejects(measureTarSplit('/nowhere/tar-split.json.gz'), { code: 'ENOENT' })
})
