import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import { mustRun } from '../src/testing/lab/child.ts'
import { parseRows } from './row.ts'

const QUICK = [
  '--image=40000000',
  '--repetitions=1',
  '--loopbackRepetitions=1',
  '--smallRepetitions=3',
]
// One pull of each kind on a machine that others share: what is far off is found, what is near is not disputed.
const MOST = {
  'never-slower-100mbit': (direct: number) => 1.25 * direct,
  'never-slower-loopback': (direct: number) => 3 * direct + 0.5,
  'never-slower-small': (direct: number) => direct + 0.25,
  'never-slower-warm': (direct: number) => direct,
  'never-slower-black-holed': (direct: number) => direct + 3,
  'never-slower-black-holed-small': (direct: number) => direct + 3,
} as const

test('pulls through a node are about as quick as without one, in one quick run of the benchmark', async (t) => {
  const program = join(import.meta.dirname, 'never-slower.ts')
  const { stdout } = await mustRun(process.execPath, [program, ...QUICK], { timeoutMs: 400_000 })
  const rows = new Map(parseRows(stdout).map((row) => [row.name, row]))
  assert.deepEqual([...rows.keys()].toSorted(), Object.keys(MOST).toSorted())
  for (const [name, most] of Object.entries(MOST)) {
    const row = rows.get(name)
    const direct = row?.baseline?.['direct']
    assert.ok(row && direct !== undefined)
    t.diagnostic(`${name}: ${row.value} s, direct ${direct} s`)
    assert.ok(row.value < most(direct), `${name}: ${row.value} s, direct ${direct} s`)
  }
})
