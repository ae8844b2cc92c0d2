import { test } from 'node:test'

import { fuzzOpened } from './fuzz.ts'
import { TARGETS } from './targets.ts'

const COUNT = 1_000_000
// Another one in every run: whoever sees it fail gives the printed one to `npm run fuzz`.
const seed = Math.floor(Math.random() * 2 ** 31)

for (const [name, open] of Object.entries(TARGETS)) {
  test(`${name}: a million inputs, none of which ends, stops or fills the process`, async (t) => {
    const report = await fuzzOpened(open, { count: COUNT, seed })
    t.diagnostic(JSON.stringify(report))
  })
}
