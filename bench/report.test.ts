import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { readmeBlock, readRows, resultsPage, summaryOf } from './report.ts'
import type { Row } from './row.ts'

const row: Row = {
  name: 'crowd',
  unit: 's, slowest node',
  value: 12.5,
  limit: 11.37,
  ratio: 1.099,
  baseline: { libtorrent: 21, webtorrent: 75.5 },
  params: { leechers: 8, cpus: 2 },
  commit: 'abc',
  cpu: 'Processor',
  node: 'v24.0.0',
  atMs: 0,
}

// `node bench/report.ts` writes both anew.
test('README.md shows what results.jsonl says', async () => {
  const text = await readFile(join(import.meta.dirname, '../README.md'), 'utf8')
  const [, block] = /<!-- bench -->\n\n([^]*?)\n\n<!-- \/bench -->/.exec(text) ?? []
  assert.equal(block, readmeBlock(await readRows()))
})

test('RESULTS.md shows what results.jsonl says', async () => {
  const rows = await readRows()
  if (rows.length === 0) return
  const text = await readFile(join(import.meta.dirname, 'RESULTS.md'), 'utf8')
  assert.equal(text, resultsPage(rows))
})

test('the table has the newest row of each name, with its limit and the others', () => {
  const block = readmeBlock([{ ...row, value: 99, atMs: -1 }, row])
  assert.match(
    block,
    /\| \*\*12\.5\*\* s, slowest node \| 11\.37 \| 1\.10 \| libtorrent 21, webtorrent 75\.5 \|/,
  )
  assert.ok(!block.includes('99'))
  assert.match(block, /2 × Processor, Node v24\.0\.0/)
})

test('without rows nothing is claimed', () => {
  assert.equal(readmeBlock([]), 'Nothing was measured yet.')
})

test('a terminal line has everything that matters', () => {
  assert.equal(
    summaryOf(row),
    'crowd 12.5 s, slowest node; limit 11.37, ratio 1.099; libtorrent 21, webtorrent 75.5',
  )
})
