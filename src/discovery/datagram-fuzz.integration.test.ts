import { test } from 'node:test'

import { fuzzDht } from '../testing/datagram-fuzz.conformance.ts'

// Another one in every run: whoever sees it fail puts the printed seed in its place.
const seed = Math.floor(Math.random() * 2 ** 31)

for (const isPublic of [true, false]) {
  const swarm = isPublic ? 'the open swarm' : 'a closed swarm, from a member,'
  test(`100,000 malformed datagrams in ${swarm} harm nobody (seed ${seed})`, async () => {
    await fuzzDht({ isPublic, count: 100_000, seed })
  })
}
