import { test } from 'node:test'

import { fuzzOpened } from './fuzz.ts'
import { TARGETS } from './targets.ts'

const COUNT = 1_000_000
// They read what is proven by then, or what another target reads as well.
const LESS: readonly string[] = ['metainfo', 'manifest', 'image name']
// Another one in every run: whoever sees it fail gives the printed one to `npm run fuzz`.
const seed = Math.floor(Math.random() * 2 ** 31)

for (const [name, open] of Object.entries(TARGETS)) {
  const count = LESS.includes(name) ? COUNT / 4 : COUNT
  test(`${name}: none of ${count} inputs ends, stops or fills the process`, async (t) => {
    const report = await fuzzOpened(open, { count, seed })
    t.diagnostic(JSON.stringify(report))
  })
}
