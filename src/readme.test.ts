import assert from 'node:assert/strict'
import { access, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { readmeTables, replaceBetweenMarkers } from './testing/readme-tables.ts'

const README = join(import.meta.dirname, '../README.md')
const SECURITY = join(import.meta.dirname, '../SECURITY.md')

// UPDATE_README=1 npm test writes them anew.
test('the tables of README.md say what the source says', async () => {
  const text = await readFile(README, 'utf8')
  let wanted = text
  for (const [name, table] of Object.entries(readmeTables())) {
    wanted = replaceBetweenMarkers(wanted, name, table)
  }
  if (process.env['UPDATE_README'] !== undefined) await writeFile(README, wanted)
  else assert.equal(text, wanted)
})

test('what SECURITY.md promises is shown by tests that are there', async () => {
  const text = await readFile(SECURITY, 'utf8')
  const promises = text.split('\n').filter((line) => /^\| T\d+ /.test(line))
  assert.ok(promises.length >= 14)
  for (const line of promises) {
    const shown = line.split('|').at(-2) ?? ''
    const paths = [...shown.matchAll(/`([a-z/.-]+(?:\.test\.ts|\/))`/g)].map(
      ([, path]) => path ?? '',
    )
    assert.notEqual(paths.length, 0, line)
    for (const path of paths) await access(join(import.meta.dirname, path))
  }
})
