import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { mapConcurrently } from '../support/concurrency.ts'
import { completed, startEngine, startLeecher, testBlob } from '../testing/engine-fixture.ts'
import { wrongMessages } from '../testing/fuzz/wire-targets.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { speak } from '../testing/wire-fuzz.ts'

const STRANGERS = 5000
const MESSAGES_EACH = 20

test('a hundred thousand mutated messages do not end an engine', async (t) => {
  const random = new SeededRandom(Date.now())
  t.diagnostic(`seed ${random.seed}`)
  const next = wrongMessages(random)
  const blob = testBlob(randomBytes(3 * 1024 * 1024))
  const seed = await startEngine(t, { holds: blob })
  const leecher = await startLeecher(t, blob.record)
  await mapConcurrently(Array.from({ length: STRANGERS }).keys(), 32, async (stranger) => {
    const { endpoint } = stranger % 2 === 0 ? seed : leecher
    const messages = Array.from({ length: MESSAGES_EACH }, next)
    await speak(endpoint.port, { infoHash: blob.record.infoHash, messages })
  })
  leecher.download.dial(seed.endpoint)
  await completed(leecher.download)
  await leecher.partial.commit()
})
