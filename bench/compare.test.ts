import assert from 'node:assert/strict'
import { test } from 'node:test'

import { compareRows, formatComparisons } from './compare.ts'
import type { Row } from './row.ts'

const row = (name: string, commit: string, value: number, atMs = 0): Row => ({
  name,
  unit: 's',
  value,
  params: {},
  commit,
  cpu: 'Processor',
  node: 'v24.0.0',
  atMs,
})
const rows = [
  row('crowd', 'aaa1', 20),
  row('crowd', 'aaa1', 10, 1),
  row('crowd', 'bbb2', 5),
  row('metainfo', 'bbb2', 7),
]

test('the newest rows of two commits stand side by side', () => {
  assert.deepEqual(compareRows(rows, { before: 'aaa', after: 'bbb2' }), [
    { name: 'crowd', unit: 's', before: 10, after: 5, change: 0.5 },
    { name: 'metainfo', unit: 's', after: 7 },
  ])
})

test('a comparison is a table with one line for each measure', () => {
  const text = formatComparisons(compareRows(rows, { before: 'aaa', after: 'bbb' }))
  assert.deepEqual(text.split('\n'), ['crowd     10  5  × 0.500  s', 'metainfo   -  7        -  s'])
})
