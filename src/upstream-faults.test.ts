import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { mapConcurrently } from './support/concurrency.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { openFaultStages, type FaultStages } from './testing/fault-trials.ts'
import { FAULT_KINDS, type FaultKind } from './testing/faulty-answers.ts'
import { SeededRandom } from './testing/seeded-random.ts'
import { wrongBlobs } from './testing/stored-blobs.ts'
import { openTestnet, type TestNode } from './testing/testnet.ts'

const random = new SeededRandom(Number(process.env['SEED'] ?? Date.now() % 1_000_000))
const PULLS_AT_ONCE = 8
/** A registry that says who may not pull has the last word on what a tag means. */
const DENIALS: readonly FaultKind[] = [
  'unauthorized-basic',
  'unauthorized-bearer',
  'unauthorized-bare',
  'forbidden',
]

describe(
  `while a peer holds an image, its registry may go wrong (seed ${random.seed})`,
  {
    concurrency: PULLS_AT_ONCE,
  },
  () => {
    const resources = new AsyncDisposableStack()
    let stages: FaultStages
    let puller: TestNode

    before(async () => {
      const net = resources.use(await openTestnet())
      stages = resources.use(await openFaultStages(net.dir, random))
      const seed = await net.start('seed', stages.config)
      puller = await net.start('puller', stages.config)
      await mapConcurrently(FAULT_KINDS, PULLS_AT_ONCE, async (kind) => {
        const { proxy, trials } = stages.at(kind)
        for (const { repository, path } of trials) {
          const name = `${proxy.address}/${repository}:1`
          await seed.run(seed.node.operations.import, { path, name })
        }
      })
    })
    after(async () => {
      assert.deepEqual(await wrongBlobs(puller.dataDir), [])
      await resources.disposeAsync()
    })

    for (const kind of FAULT_KINDS) {
      test(`${kind}: every pull brings the right bytes at once`, async () => {
        const { proxy, trials } = stages.at(kind)
        for (const { fault, repository } of trials) {
          await proxy.set(fault)
          const isDenied = fault.on !== 'blobs' && DENIALS.includes(kind)
          if (!isDenied) await assertPulls(puller, proxy.address, repository)
        }
      })
    }
  },
)

async function assertPulls(node: TestNode, ns: string, repository: string): Promise<void> {
  const answers = await pullLikeEngine({ door: node.node.ready.registry, ns, repository })
  assert.ok(isPulled(answers), `${repository}: ${summaryOf(answers)}`)
}
