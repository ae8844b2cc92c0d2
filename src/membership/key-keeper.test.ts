import assert from 'node:assert/strict'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { until } from '../testing/dht-testnet.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { KeyKeeper, successorPath, type KeyKeeperOptions } from './key-keeper.ts'
import { keyLinePath } from './key-line-file.ts'
import { makeNodeIdentity } from './node-identity.ts'
import {
  makeSwarmKey,
  openSwarmKey,
  readSwarmKey,
  swarmKeyPath,
  writeSwarmKey,
} from './swarm-key.ts'

const identity = makeNodeIdentity()
const DAY_MS = 86_400_000

test('a new key is on disk, for the owner only, and there again after a restart', async () => {
  await using place = await openPlace()
  const order = await place.keeper.issue({ overlapMs: DAY_MS })
  for (const path of [keyLinePath(place.dataDir), swarmKeyPath(place.dataDir)])
    assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.deepEqual(await readSwarmKey(swarmKeyPath(place.dataDir)), order.key)
  const again = await place.restart()
  assert.deepEqual(again.keys.newest, order.key)
  assert.equal(again.keys.accepted.length, 2)
  assert.equal(again.mark, place.keeper.mark)
})

test('who is killed between the two files goes on with the new key, whichever of them is there', async () => {
  await using place = await openPlace()
  const before = place.keeper.keys.newest
  const order = await place.keeper.issue({ overlapMs: DAY_MS })
  await writeSwarmKey(swarmKeyPath(place.dataDir), before)
  const again = await place.restart()
  assert.deepEqual(again.keys.newest, order.key)
  assert.deepEqual(await readSwarmKey(swarmKeyPath(place.dataDir)), order.key)

  for (const content of ['', '{', '{"base":{}}', `{"orders":${'['.repeat(10_000)}`]) {
    await writeFile(keyLinePath(place.dataDir), content)
    assert.deepEqual((await place.restart()).keys.accepted, [order.key])
  }
})

test('sends with a new key only after a moment, also where that is after a restart', async () => {
  let nowMs = 1_800_000_000_000
  await using place = await openPlace({ settleMs: 1000, now: () => nowMs })
  const before = place.keeper.keys.current
  const order = await place.keeper.issue({ overlapMs: 2000 })
  assert.deepEqual(place.keeper.keys.current, before)
  nowMs += 500
  assert.deepEqual((await place.restart()).keys.current, before)
  nowMs += 501
  const settled = await place.restart()
  assert.deepEqual(settled.keys.current, order.key)
  assert.equal(settled.keys.accepted.length, 2)
  nowMs += 1000
  assert.deepEqual((await place.restart()).keys.accepted, [order.key])
})

test('a key changes by itself when its time has come', async () => {
  await using place = await openPlace({ settleMs: 20 })
  const { keys } = place.keeper
  const order = await place.keeper.issue({ overlapMs: 0 })
  await until(() => keys.current.equals(order.key) && keys.accepted.length === 1)
  assert.equal(keys.known.length, 2)
})

test('a key file of others is read and never written; what followed it is remembered', async () => {
  await using dir = await tempDir()
  const keyFile = join(dir.path, 'given.key')
  const given = makeSwarmKey()
  await writeSwarmKey(keyFile, given)
  await using place = await openPlace({ keyFile })
  const order = await place.keeper.issue({ overlapMs: DAY_MS })
  assert.deepEqual(await readSwarmKey(keyFile), given)
  assert.deepEqual(await readSwarmKey(successorPath(place.dataDir)), order.key)
  await assert.rejects(readSwarmKey(swarmKeyPath(place.dataDir)), { code: 'SWARM_KEY_INVALID' })
  assert.deepEqual((await place.restart()).keys.newest, order.key)
  await writeSwarmKey(keyFile, order.key)
  assert.deepEqual((await place.restart()).keys.newest, order.key)
  const other = makeSwarmKey()
  await writeSwarmKey(keyFile, other)
  assert.deepEqual((await place.restart()).keys.known, [other])
})

test('two that tell each other know the same, and neither tells the other twice', async () => {
  await using a = await openPlace()
  await using b = await openPlace({ identity: makeNodeIdentity() }, a.keeper.keys.newest)
  assert.equal(a.keeper.mark, b.keeper.mark)
  await Promise.all([
    a.keeper.issue({ overlapMs: DAY_MS }),
    b.keeper.issue({ revoked: ['c'.repeat(64)], overlapMs: 0 }),
  ])
  await Promise.all([a.keeper.merge(b.keeper.orders), b.keeper.merge(a.keeper.orders)])
  // Where a did not know who was shut out when it gave the key that counts, it has given another.
  await b.keeper.merge(a.keeper.orders)
  await a.keeper.merge(b.keeper.orders)
  assert.equal(a.keeper.mark, b.keeper.mark)
  assert.deepEqual(a.keeper.keys.newest, b.keeper.keys.newest)
  assert.equal(await a.keeper.merge(b.keeper.orders), false)
})

test('whoever gave the newest key gives another when he hears who was to have none', async () => {
  let nowMs = 1_800_000_000_000
  await using a = await openPlace({ now: () => nowMs })
  const early = { identity: makeNodeIdentity(), now: () => nowMs - 100 }
  await using b = await openPlace(early, a.keeper.keys.newest)
  const wrong = await a.keeper.issue({ overlapMs: DAY_MS })
  await b.keeper.issue({ revoked: ['c'.repeat(64)], overlapMs: 0 })
  await a.keeper.merge(b.keeper.orders)
  assert.notDeepEqual(a.keeper.keys.newest, wrong.key)
  assert.deepEqual(a.keeper.orders.at(-1)?.revoked, ['c'.repeat(64)])
  nowMs += 60_000
  assert.ok(!(await a.restart()).keys.accepted.some((key) => key.equals(wrong.key)))
})

test('what cannot be kept does not count', async () => {
  await using place = await openPlace()
  const before = place.keeper.keys.newest
  await assert.rejects(
    place.keeper.issue({
      revoked: Array.from({ length: 257 }, (_, index) => String(index).padStart(64, '0')),
      overlapMs: 0,
    }),
    { code: 'SWARM_KEY_INVALID' },
  )
  assert.deepEqual(place.keeper.keys.newest, before)
  await assert.rejects(readFile(keyLinePath(place.dataDir)), { code: 'ENOENT' })
})

/** A data directory with a keeper, which can be opened again as after a kill. */
async function openPlace(
  options: Partial<KeyKeeperOptions> = {},
  key?: Awaited<ReturnType<typeof openSwarmKey>>,
) {
  await using resources = new AsyncDisposableStack()
  const dataDir = resources.use(await tempDir()).path
  await mkdir(join(dataDir, 'keys'))
  if (key) await writeSwarmKey(swarmKeyPath(dataDir), key)
  const open = async () =>
    resources.use(await KeyKeeper.open({ dataDir, identity, settleMs: 10_000, ...options }))
  const keeper = await open()
  const opened = resources.move()
  return {
    dataDir,
    keeper,
    restart: async () =>
      opened.use(await KeyKeeper.open({ dataDir, identity, settleMs: 10_000, ...options })),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
