import { test } from 'node:test'

import { fuzzWithKey, fuzzWithoutKey } from '../testing/datagram-fuzz-sealed.conformance.ts'
import { fuzzDht } from '../testing/datagram-fuzz.conformance.ts'

// Another one in every run: whoever sees it fail puts the printed seed in its place.
const seed = Math.floor(Math.random() * 2 ** 31)

for (const isPublic of [true, false]) {
  const swarm = isPublic ? 'the open swarm' : 'a closed swarm, from a member,'
  test(`100,000 malformed datagrams in ${swarm} harm nobody (seed ${seed})`, async () => {
    await fuzzDht({ isPublic, count: 100_000, seed })
  })
}

test(`of a million datagrams of those without the key none is opened (seed ${seed})`, () => {
  fuzzWithoutKey({ count: 1_000_000, seed })
})

// As many as the window remembers: beyond that the oldest seconds are closed, and good ones are refused.
test(`of 100,000 of a mad member those are opened that are of now, whole, new and ours (seed ${seed})`, () => {
  fuzzWithKey({ count: 100_000, seed })
})
