import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'

import type Wire from 'bittorrent-protocol'

import { completed, startEngine, startLeecher, testBlob } from '../testing/engine-fixture.ts'
import { KNOWN_CRASHERS, speak } from '../testing/wire-fuzz.ts'
import { wrongMessages } from '../testing/fuzz/wire-targets.ts'
import { SeededRandom } from '../testing/seeded-random.ts'

const SIZE = 9 * 1024 * 1024 + 12_345
const blob = testBlob(randomBytes(SIZE))

test('fetches every piece from one seed and proves the whole', async (t) => {
  const seed = await startEngine(t, { holds: blob })
  const leecher = await startLeecher(t, blob.record)
  leecher.download.dial(seed.endpoint)
  await once(leecher.download.progress, 'complete')
  await leecher.partial.commit()
  assert.ok(await leecher.store.has(blob.record.digest))
})

test('leechers give each other what the seed sent once', async (t) => {
  const seed = await startEngine(t, { holds: blob, uploadBytesPerSecond: 16 * 1024 * 1024 })
  const leechers = await Promise.all([
    startLeecher(t, blob.record),
    startLeecher(t, blob.record),
    startLeecher(t, blob.record),
  ])
  let sent = 0
  seed.engine.on('sent', ({ bytes }) => (sent += bytes))
  for (const { download } of leechers) download.dial(seed.endpoint)
  await Promise.all(leechers.map(({ download }) => completed(download)))
  for (const { partial } of leechers) await partial.commit()
  assert.ok(sent < 1.5 * SIZE, `the seed sent ${(sent / SIZE).toFixed(2)} copies`)
})

test('finds who sent a wrong piece, and goes on with the others', async (t) => {
  const wrong = Buffer.from(blob.bytes)
  for (let at = 0; at < wrong.length; at += 10_000) wrong[at] = (wrong[at] ?? 0) ^ 255
  const good = await startEngine(t, { holds: blob })
  const bad = await startEngine(t, { holds: { ...blob, bytes: wrong } })
  const leecher = await startLeecher(t, blob.record)
  const culprits: number[] = []
  leecher.download.progress.on('badPiece', ({ wire }) => {
    culprits.push(Number(wire.peerExtendedHandshake['p']))
    wire.destroy()
  })
  leecher.download.dial(bad.endpoint)
  leecher.download.dial(good.endpoint)
  await completed(leecher.download)
  await leecher.partial.commit()
  assert.ok(culprits.length >= 1 && culprits.length <= 3, `${culprits.length} wrong pieces`)
  assert.deepEqual([...new Set(culprits)], [bad.endpoint.port])
})

test('who offers pieces and turns down every request is cut off and named', async (t) => {
  const stingy = await startEngine(t, { holds: blob, gives: false })
  const leecher = await startLeecher(t, blob.record)
  const refused = once(leecher.download.progress, 'refused') as Promise<[{ wire: Wire }]>
  const lost = once(leecher.download.progress, 'peerLost')
  leecher.download.dial(stingy.endpoint)
  const [{ wire }] = await refused
  assert.equal(Number(wire.peerExtendedHandshake['p']), stingy.endpoint.port)
  await lost
  const good = await startEngine(t, { holds: blob })
  leecher.download.dial(good.endpoint)
  await completed(leecher.download)
})

test('a leecher that goes is forgotten, and the next one gets all it lacks', async (t) => {
  const seed = await startEngine(t, { holds: blob, uploadBytesPerSecond: 8 * 1024 * 1024 })
  const first = await startLeecher(t, blob.record)
  first.download.dial(seed.endpoint)
  await once(first.download.progress, 'piece')
  await first.engine[Symbol.asyncDispose]()
  const second = await startLeecher(t, blob.record)
  second.download.dial(seed.endpoint)
  await completed(second.download)
  await second.partial.commit()
})

test('a wire closes when its peer is gone', async (t) => {
  const seed = await startEngine(t, { holds: blob, uploadBytesPerSecond: 8 * 1024 * 1024 })
  const leecher = await startLeecher(t, blob.record)
  leecher.download.dial(seed.endpoint)
  await once(leecher.download.progress, 'piece')
  assert.equal(leecher.download.progress.usablePeers, 1)
  await seed.engine[Symbol.asyncDispose]()
  await once(leecher.download.progress, 'peerLost', { signal: AbortSignal.timeout(5000) })
  assert.equal(leecher.download.progress.usablePeers, 0)
})

test('no message ends an engine: what is known to crash the libraries, and thousands of mutations', async (t) => {
  const random = new SeededRandom(Date.now())
  t.diagnostic(`seed ${random.seed}`)
  const next = wrongMessages(random)
  const seed = await startEngine(t, { holds: blob })
  const leecher = await startLeecher(t, blob.record)
  const { infoHash } = blob.record
  for (const { endpoint } of [seed, leecher]) {
    for (const bytes of KNOWN_CRASHERS) await speak(endpoint.port, { infoHash, messages: [bytes] })
    for (let stranger = 0; stranger < 20; stranger += 1) {
      const messages = Array.from({ length: 50 }, next)
      await speak(endpoint.port, { infoHash, messages })
    }
  }
  leecher.download.dial(seed.endpoint)
  await completed(leecher.download)
  await leecher.partial.commit()
})
