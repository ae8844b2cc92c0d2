import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { isRepositoryName, isTag } from '../oci/reference.ts'
import { digestOf, isDigest } from '../oci/digest.ts'
import { openDoor } from '../testing/open-door.ts'
import { RegistryRefusal } from './error-responses.ts'
import { readDigest, readTag } from './request-name.ts'

const word = fc.constantFrom(
  'a',
  'b0',
  'x-y',
  'manifests',
  'blobs',
  'tags',
  'list',
  'uploads',
  'v2',
)
const name = fc.array(word, { minLength: 1, maxLength: 6 }).map((words) => words.join('/'))

test('finds the name before the last of the words in a path', async () => {
  await using door = await openDoor()
  const digest = digestOf('unknown')
  await fc.assert(
    fc.asyncProperty(name, fc.constantFrom('manifests', 'blobs'), async (text, kind) => {
      door.backend.asked.length = 0
      assert.equal((await door.get(`/v2/${text}/${kind}/${digest}`)).status, 404)
      const [asked] = door.backend.asked
      assert.equal(asked?.verb, kind === 'blobs' ? 'blob' : 'manifest')
      assert.equal(asked?.name.repository, text.includes('/') ? text : `library/${text}`)
    }),
    { numRuns: 40 },
  )
})

test('answers any path, and asks only for names and references of the grammar', async () => {
  await using door = await openDoor()
  const piece = fc.oneof(
    word,
    fc.constantFrom('..', '%2f', 'A', '', '?', '#', '%', 'sha256:0'),
    fc.string({ maxLength: 8 }).map(encodeURIComponent),
  )
  const path = fc.array(piece, { maxLength: 8 }).map((pieces) => `/v2/${pieces.join('/')}`)
  await fc.assert(
    fc.asyncProperty(path, async (text) => {
      door.backend.asked.length = 0
      const { status } = await door.get(text)
      assert.ok([200, 400, 404, 405].includes(status), `${status}`)
      for (const { name, tag, digest } of door.backend.asked) {
        assert.ok(isRepositoryName(name.repository))
        assert.ok(tag === undefined || isTag(tag))
        assert.ok(digest === undefined || isDigest(digest))
      }
    }),
    { numRuns: 60 },
  )
})

test('reads any reference as a tag or a digest, or refuses it by code', () => {
  const reference = fc.oneof(
    fc.string(),
    fc.string().map((text) => `sha256:${text}`),
  )
  fc.assert(
    fc.property(reference, (text) => {
      try {
        if (text.includes(':')) assert.ok(isDigest(readDigest(text, 'MANIFEST_UNKNOWN')))
        else assert.ok(isTag(readTag(text)))
      } catch (error) {
        assert.ok(error instanceof RegistryRefusal, String(error))
      }
    }),
  )
})
