import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { parseChallenge } from './challenge.ts'

const bearer = (realm: string, rest: object = {}) => ({
  scheme: 'bearer' as const,
  realm: new URL(realm),
  ...rest,
})

const HEADERS: readonly [string | undefined, ReturnType<typeof parseChallenge>][] = [
  [undefined, undefined],
  ['', undefined],
  ['Negotiate', undefined],
  ['Basic realm="x"', { scheme: 'basic' }],
  ['basic', { scheme: 'basic' }],
  [
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull"',
    bearer('https://auth.docker.io/token', {
      service: 'registry.docker.io',
      scope: 'repository:library/x:pull',
    }),
  ],
  [
    'BEARER  Realm = "https://a.example/t" , Service=plain',
    bearer('https://a.example/t', { service: 'plain' }),
  ],
  [
    'Bearer realm="https://a.example/t",service="a \\"quoted\\", one"',
    bearer('https://a.example/t', { service: 'a "quoted", one' }),
  ],
  ['Basic realm="x", Bearer realm="https://a.example/t"', bearer('https://a.example/t')],
  ['Digest realm="x", nonce="y", Basic realm="z"', { scheme: 'basic' }],
  ['Bearer realm="https://user:secret@a.example/t#x"', bearer('https://a.example/t')],
  ['Bearer realm="/token"', undefined],
  ['Bearer realm="file:///etc/passwd"', undefined],
  ['Bearer service="no realm"', undefined],
  [`Bearer realm="https://a.example/${'x'.repeat(10_000)}"`, undefined],
]

for (const [header, expected] of HEADERS) {
  test(`reads the challenge ${header?.slice(0, 100) ?? 'that is not there'}`, () => {
    assert.deepEqual(parseChallenge(header), expected)
  })
}

test('any other text is a challenge or none, without an error', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary-ascii', maxLength: 300 }), (text) => {
      parseChallenge(text)
      parseChallenge(`Bearer realm="https://a.example/t",${text}`)
    }),
  )
})
