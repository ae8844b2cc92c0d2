import assert from 'node:assert/strict'
import { test } from 'node:test'

import { parseRetryAfter } from './retry-after.ts'

const NOW_MS = Date.parse('Fri, 31 Dec 1999 23:59:00 GMT')

const HEADERS: readonly [string | undefined, number | undefined][] = [
  [undefined, undefined],
  ['0', 0],
  ['3', 3000],
  ['99999999', 600_000],
  ['Fri, 31 Dec 1999 23:59:59 GMT', 59_000],
  ['Fri, 31 Dec 1999 23:00:00 GMT', 0],
  ['Fri, 31 Dec 2099 23:59:59 GMT', 600_000],
  ['soon', undefined],
  ['-1x', undefined],
]

for (const [header, expected] of HEADERS) {
  test(`Retry-After: ${header ?? 'none'} is ${expected ?? 'no'} ms`, () => {
    assert.equal(parseRetryAfter(header, NOW_MS), expected)
  })
}
