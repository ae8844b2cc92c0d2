import assert from 'node:assert/strict'
import { test } from 'node:test'

import { array, assert as check, constantFrom, property } from 'fast-check'

import { isOperationError } from '../errors.ts'
import {
  folderOf,
  normaliseArchivePath,
  normaliseEntryName,
  promisedDigest,
  suggestedDigest,
} from './archive-path.ts'

const HEX = 'a'.repeat(64)

test('never gives a path that leaves the archive', () => {
  const part = constantFrom('..', '.', '', 'a', 'b c', '...', '/')
  check(
    property(array(part, { maxLength: 12 }), (parts) => {
      for (const normalise of [normaliseEntryName, normaliseArchivePath]) {
        try {
          const components = normalise(parts.join('/')).split('/')
          assert.ok(!components.includes('..'))
          assert.ok(!components.includes('.'))
        } catch (error) {
          assert.ok(isOperationError(error, 'ARCHIVE_INVALID'))
        }
      }
    }),
  )
})

test('resolves a relative path from its folder', () => {
  assert.equal(normaliseArchivePath('../b/layer.tar', 'a'), 'b/layer.tar')
  assert.equal(normaliseArchivePath('./x//y/.'), 'x/y')
  assert.equal(folderOf('a/b/c'), 'a/b')
  assert.equal(folderOf('a'), '')
  assert.throws(() => normaliseArchivePath('../../b', 'a'), { code: 'ARCHIVE_INVALID' })
})

for (const [path, promised, suggested] of [
  [`blobs/sha256/${HEX}`, true, true],
  [`${HEX}.tar`, false, true],
  [`sha256:${HEX}.tar.gz`, false, true],
  [`${HEX}/layer.tar`, false, false],
  [`blobs/sha256/${HEX}/x`, false, false],
  [`blobs/sha512/${HEX}`, false, false],
  [`x/blobs/sha256/${HEX}`, false, false],
] as const) {
  test(`takes ${path.replace(HEX, '<hex>')} for ${promised ? 'a blob' : suggested ? 'a hint' : 'a file'}`, () => {
    assert.equal(promisedDigest(path) !== undefined, promised)
    assert.equal(suggestedDigest(path) !== undefined, suggested)
  })
}
