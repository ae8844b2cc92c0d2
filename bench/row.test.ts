import assert from 'node:assert/strict'
import { test } from 'node:test'

import { completeRow, newestRows, parseRows, type Row } from './row.ts'

const measured = { name: 'crowd', unit: 's', value: 12.3456, params: { nodes: 8 } }

test('a row says its ratio to the limit, and where and when it was measured', () => {
  const row = completeRow({ ...measured, limit: 11, baseline: { webtorrent: 75.123 } })
  assert.equal(row.value, 12.35)
  assert.equal(row.ratio, 1.122)
  assert.deepEqual(row.baseline, { webtorrent: 75.12 })
  assert.equal(row.node, process.version)
  assert.equal(row.params['nodes'], 8)
  assert.ok(Math.abs(Date.now() - row.atMs) < 60_000)
})

test('a row without a limit has no ratio', () => {
  assert.ok(!('ratio' in completeRow(measured)))
})

test('rows survive a file', () => {
  const rows = [completeRow(measured), completeRow({ ...measured, limit: 2 })]
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  assert.deepEqual(parseRows(text), rows)
})

test('a line that is no row is refused', () => {
  for (const line of ['{}', 'null', '{"name":"a","unit":"s","value":"1"}']) {
    assert.throws(() => parseRows(line), TypeError)
  }
  assert.throws(() => parseRows('{'), SyntaxError)
})

test('the newest row of a name counts, wherever it stands', () => {
  const at = (name: string, atMs: number): Row => ({ ...completeRow({ ...measured, name }), atMs })
  const newest = newestRows([at('a', 5), at('b', 1), at('a', 3), at('b', 2)])
  assert.deepEqual(
    newest.map(({ name, atMs }) => [name, atMs]),
    [
      ['a', 5],
      ['b', 2],
    ],
  )
})
