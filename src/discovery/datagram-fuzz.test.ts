import { test } from 'node:test'

import { fuzzWithKey, fuzzWithoutKey } from '../testing/datagram-fuzz-sealed.conformance.ts'
import { fuzzDht } from '../testing/datagram-fuzz.conformance.ts'

const SEED = 20_260_311

for (const isPublic of [true, false]) {
  const swarm = isPublic ? 'the open swarm' : 'a closed swarm, from a member,'
  test(`10,000 malformed datagrams in ${swarm} harm nobody (seed ${SEED})`, async () => {
    await fuzzDht({ isPublic, count: 10_000, seed: SEED })
  })
}

test(`of 20,000 datagrams of those without the key none is opened (seed ${SEED})`, () => {
  fuzzWithoutKey({ count: 20_000, seed: SEED })
})

test(`of 10,000 of a mad member those are opened that are of now, whole, new and ours (seed ${SEED})`, () => {
  fuzzWithKey({ count: 10_000, seed: SEED })
})
