import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  assertHarmless,
  isPulled,
  pullLikeEngine,
  summaryOf,
  untilPulled,
} from './testing/engine-like-pull.ts'
import { openFaultStages } from './testing/fault-trials.ts'
import { SeededRandom } from './testing/seeded-random.ts'
import { wrongBlobs } from './testing/stored-blobs.ts'
import { openTestnet } from './testing/testnet.ts'

const random = new SeededRandom(Number(process.env['SEED'] ?? Date.now() % 1_000_000))
/** Docker 29.7 and containerd 2.3 give a mirror up that sends no header for 30 s. */
const MOST_MS = 28_000

test(
  `without a peer, a registry that is silent or slow (seed ${random.seed})`,
  {
    concurrency: 3,
  },
  async (t) => {
    await using net = await openTestnet()
    await using stages = await openFaultStages(net.dir, random)
    const node = await net.start('lone', stages.config)
    const pull = (ns: string, repository: string) =>
      pullLikeEngine({ door: node.node.ready.registry, ns, repository })
    const kinds = ['silent', 'stalled', 'slow'] as const
    const tests = kinds.map(async (kind) =>
      t.test(
        `${kind}: an answer before engines give up, and all is well when it is mended`,
        async () => {
          const { proxy, trials } = stages.at(kind)
          for (const { fault, repository } of trials) {
            await proxy.set(fault)
            assertHarmless(await pull(proxy.address, repository), MOST_MS)
            await proxy.set(undefined)
            const answers = await untilPulled(() => pull(proxy.address, repository))
            assert.ok(isPulled(answers), `${repository}, mended: ${summaryOf(answers)}`)
          }
        },
      ),
    )
    await Promise.all(tests)
    assert.deepEqual(await wrongBlobs(node.dataDir), [])
  },
)
