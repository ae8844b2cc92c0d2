import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { readmeTables, replaceBetweenMarkers } from './testing/readme-tables.ts'

const README = join(import.meta.dirname, '../README.md')

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
