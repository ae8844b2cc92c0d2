import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import {
  assertHarmless,
  isPulled,
  pullLikeEngine,
  summaryOf,
  untilPulled,
} from './testing/engine-like-pull.ts'
import { openFaultStages, type FaultStages } from './testing/fault-trials.ts'
import { FAULT_KINDS, type FaultKind } from './testing/faulty-answers.ts'
import { SeededRandom } from './testing/seeded-random.ts'
import { hashedBlobs } from './testing/stored-blobs.ts'
import { openTestnet, type TestNode } from './testing/testnet.ts'

const random = new SeededRandom(Number(process.env['SEED'] ?? Date.now() % 1_000_000))
const QUICK_MS = 8000
/** Waiting for these takes its time: upstream-silence.integration.test.ts. */
const SLOW_KINDS: readonly FaultKind[] = ['silent', 'stalled', 'slow']
const QUICK_KINDS = FAULT_KINDS.filter((kind) => !SLOW_KINDS.includes(kind))

describe(
  `without a peer, a registry that goes wrong (seed ${random.seed})`,
  {
    concurrency: 16,
  },
  () => {
    const resources = new AsyncDisposableStack()
    let stages: FaultStages
    let node: TestNode

    before(async () => {
      const net = resources.use(await openTestnet())
      stages = resources.use(await openFaultStages(net.dir, random))
      node = await net.start('lone', stages.config)
    })
    after(async () => {
      for (const { name, hex } of await hashedBlobs(node.dataDir)) assert.equal(name, hex)
      await resources.disposeAsync()
    })

    const pull = (ns: string, repository: string) =>
      pullLikeEngine({ door: node.node.ready.registry, ns, repository })

    for (const kind of QUICK_KINDS) {
      test(`${kind}: right bytes, a quick 404 or an early end; and all is well when it is mended`, async () => {
        const { proxy, trials } = stages.at(kind)
        for (const { fault, repository } of trials) {
          await proxy.set(fault)
          assertHarmless(await pull(proxy.address, repository), QUICK_MS)
          await proxy.set(undefined)
          const answers = await untilPulled(() => pull(proxy.address, repository))
          assert.ok(isPulled(answers), `${repository}, mended: ${summaryOf(answers)}`)
        }
      })
    }
  },
)
