import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { isOperationError } from '../errors.ts'
import {
  canonicalName,
  familiarName,
  formatReference,
  parseDoorName,
  parseReference,
} from './reference.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`

const READ: readonly [string, string, string][] = [
  ['app', 'docker.io/library/app:latest', 'app:latest'],
  ['org/app:1', 'docker.io/org/app:1', 'org/app:1'],
  ['ghcr.io/org/app:1', 'ghcr.io/org/app:1', 'ghcr.io/org/app:1'],
  ['localhost:5000/app:1', 'localhost:5000/app:1', 'localhost:5000/app:1'],
  ['local/app:1', 'docker.io/library/app:1', 'app:1'],
  ['local/ghcr.io/org/app:1', 'ghcr.io/org/app:1', 'ghcr.io/org/app:1'],
  ['node/alpha/app:1', 'docker.io/library/app:1', 'app:1'],
  ['127.0.0.1:5151/local/app:1', 'docker.io/library/app:1', 'app:1'],
  ['127.0.0.1:5151/ghcr.io/org/app:1', 'ghcr.io/org/app:1', 'ghcr.io/org/app:1'],
  ['127.0.0.1:6000/app:1', '127.0.0.1:6000/app:1', '127.0.0.1:6000/app:1'],
  ['index.docker.io/library/app:1', 'docker.io/library/app:1', 'app:1'],
  [`app@${DIGEST}`, `docker.io/library/app@${DIGEST}`, `app@${DIGEST}`],
]

for (const [text, canonical, familiar] of READ) {
  test(`reads ${text} as ${canonical}`, () => {
    const reference = parseReference(text, { doors: ['127.0.0.1:5151'] })
    assert.equal(canonicalName(reference), canonical)
    assert.equal(familiarName(reference), familiar)
  })
}

test('keeps local and node in the name that people read', () => {
  assert.equal(formatReference(parseReference('local/app:1')), 'local/app:1')
  assert.equal(formatReference(parseReference('node/alpha/org/app:1')), 'node/alpha/org/app:1')
})

for (const text of [
  '',
  'App:1',
  'a/../b:1',
  'app:',
  'app:-1',
  'app@sha256:12',
  `${'a'.repeat(300)}:1`,
  'a b',
]) {
  test(`refuses "${text.slice(0, 20)}" with a code`, () => {
    assert.throws(
      () => parseReference(text),
      (error) => {
        return (
          isOperationError(error, 'REFERENCE_INVALID') || isOperationError(error, 'DIGEST_INVALID')
        )
      },
    )
  })
}

test('a name at the door means its upstream by ns, by its first component, or docker.io', () => {
  assert.deepEqual(parseDoorName('library/alpine'), {
    registry: 'docker.io',
    repository: 'library/alpine',
    scope: 'upstream',
  })
  assert.deepEqual(parseDoorName('alpine').repository, 'library/alpine')
  assert.deepEqual(parseDoorName('o/x', 'ghcr.io').registry, 'ghcr.io')
  assert.deepEqual(parseDoorName('ghcr.io/o/x').registry, 'ghcr.io')
  assert.deepEqual(parseDoorName('reg__5000/x').registry, 'reg:5000')
  assert.deepEqual(parseDoorName('local/app').scope, 'local')
  assert.deepEqual(parseDoorName('node/alpha/app').nodeName, 'alpha')
})

test('any text is read or refused with a code, and what is read reads back the same', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 80 }), (text) => {
      try {
        const reference = parseReference(text)
        assert.deepEqual(parseReference(formatReference(reference)), reference)
      } catch (error) {
        assert.ok(isOperationError(error), String(error))
      }
    }),
    { numRuns: 2000 },
  )
})

test('a name of any length is refused at once', () => {
  const startedMs = performance.now()
  for (const part of ['local/', 'node/n/', 'a', 'a/', ':', '@'])
    assert.throws(() => parseReference(part.repeat(100_000)), { code: 'REFERENCE_INVALID' })
  assert.ok(performance.now() - startedMs < 1000)
})
