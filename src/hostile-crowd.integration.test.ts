import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import type { SwarmKey } from './membership/swarm-key.ts'
import { digestOf } from './oci/digest.ts'
import type { NodeStatus } from './status/node-status.ts'
import { startMaliciousHolder, type Malice } from './testing/malicious-holder.ts'
import { readBody } from './testing/node-reading.ts'
import { SeededRandom } from './testing/seeded-random.ts'
import { openTestnet, writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024
const PULLS = Number(process.env['PULLS'] ?? 20)
const CROWD: readonly Malice[] = [
  'wrong-bytes',
  'wrong-bytes',
  'wrong-bytes',
  'wrong-record',
  'wrong-record',
  'refuses',
  'stalls',
]
const random = new SeededRandom(Number(process.env['SEED'] ?? Date.now() % 1_000_000))
const MOST_MS = 30_000

test(`seven of eight holders are hostile members: ${PULLS} of ${PULLS} pulls end well (seed ${random.seed})`, async (t) => {
  let [slowestMs, mostBadPieces] = [0, 0]
  const bans = new Map<string, number>()
  for (let round = 0; round < PULLS; round += 1) {
    await using net = await openTestnet()
    const image = await writeLayout(join(net.dir, 'image'), [12 * MIB])
    const [blob] = image.layers
    assert.ok(blob)
    const honest = await net.start('honest', { uploadBytesPerSecond: 16 * MIB })
    await honest.run(honest.node.operations.import, { path: image.path, name: 'app:1' })
    const puller = await net.start('puller')
    const swarmKey = Buffer.from(net.swarmKey, 'hex') as SwarmKey
    await using hostile = new AsyncDisposableStack()
    // who is met last is asked first
    for (const [index, malice] of random.shuffled(CROWD).entries()) {
      const nodeName = `${malice}-${index}`
      const member = await startMaliciousHolder({ swarmKey, malice, nodeName, blob })
      hostile.use(member)
      await member.greet(puller.node.ready.peerPort)
    }
    assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
    const startedMs = performance.now()
    const url = `http://${puller.node.ready.registry}/v2/local/app/blobs/${blob.digest}`
    const bytes = await pullAsEngine(url)
    const ms = performance.now() - startedMs
    assert.equal(digestOf(bytes), blob.digest, `round ${round}`)
    assert.ok(ms < MOST_MS, `round ${round}: ${ms.toFixed(0)} ms`)
    const { bannedPeers } = (await (await puller.get('/api/v1/status')).json()) as NodeStatus
    for (const { nodeName, badPieces, reason } of bannedPeers) {
      // silence is no proof: who is silent is left for others, and not banned for it
      assert.ok(nodeName !== 'honest' && !nodeName.startsWith('stalls'), `${nodeName}: ${reason}`)
      assert.ok(badPieces <= 3, `${nodeName}: ${badPieces} bad pieces`)
      mostBadPieces = Math.max(mostBadPieces, badPieces)
      const malice = nodeName.replace(/-\d$/, '')
      bans.set(malice, (bans.get(malice) ?? 0) + 1)
    }
    slowestMs = Math.max(slowestMs, ms)
  }
  t.diagnostic(
    `slowest ${slowestMs.toFixed(0)} ms, at most ${mostBadPieces} bad pieces of one peer`,
  )
  t.diagnostic(`banned: ${[...bans].map(([malice, count]) => `${count} ${malice}`).join(', ')}`)
  assert.ok((bans.get('wrong-bytes') ?? 0) > PULLS)
})

/** What came early is right or the whole is asked for again, as engines do: five times. */
async function pullAsEngine(url: string): Promise<Buffer> {
  for (let tries = 1; ; tries += 1) {
    const body = await readBody(url)
    if ((body.status === 200 && body.isWhole) || tries === 5) return body.bytes
  }
}
