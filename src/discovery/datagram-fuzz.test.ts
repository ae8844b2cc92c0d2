import { test } from 'node:test'

import { fuzzDht } from '../testing/datagram-fuzz.conformance.ts'

const SEED = 20_260_311

for (const isPublic of [true, false]) {
  const swarm = isPublic ? 'the open swarm' : 'a closed swarm, from a member,'
  test(`10,000 malformed datagrams in ${swarm} harm nobody (seed ${SEED})`, async () => {
    await fuzzDht({ isPublic, count: 10_000, seed: SEED })
  })
}
