/**
 * Reads ten million inputs with every parser of what a peer sends, or as many as are asked for, and prints a line of
 * JSON for each: `npm run fuzz -- [--count N] [--seed N] [--only NAME]`. Ends with a code other than 0 at the first
 * finding, with the input that shows it.
 */
import { parseArgs } from 'node:util'

import { fuzzOpened } from './fuzz/fuzz.ts'
import { TARGETS } from './fuzz/targets.ts'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '10000000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    only: { type: 'string', default: '' },
  },
})

for (const [name, open] of Object.entries(TARGETS)) {
  if (!name.includes(values.only)) continue
  const report = await fuzzOpened(open, { count: Number(values.count), seed: Number(values.seed) })
  process.stdout.write(`${JSON.stringify(report)}\n`)
}
