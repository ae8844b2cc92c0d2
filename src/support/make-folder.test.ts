import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { tempDir } from '../testing/temp-dir.ts'
import { makeFolder } from './make-folder.ts'

test('makes a folder with those above it, twice without harm', async () => {
  await using dir = await tempDir()
  const path = join(dir.path, 'a/b/c')
  await makeFolder(path)
  await makeFolder(path)
  assert.ok((await stat(path)).isDirectory())
})

test('comes back with an error where no folder can be made', { timeout: 5000 }, async () => {
  await assert.rejects(makeFolder('/proc/ddocker/keys'), { code: 'ENOENT' })
})
