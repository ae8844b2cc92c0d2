import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { KeyKeeper } from '../membership/key-keeper.ts'
import { makeNodeIdentity } from '../membership/node-identity.ts'
import { swarmKeyPath, writeSwarmKey, type SwarmKey } from '../membership/swarm-key.ts'
import { PeerDirectory, type KnownPeer } from '../peering/peer-directory.ts'
import { silentLog } from '../telemetry/log.ts'
import { until } from '../testing/dht-testnet.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { KeyCourier } from './key-courier.ts'

const DAY_MS = 86_400_000

test('who has given a key tells all, says who has it, and goes on to tell the others', async () => {
  await using net = openNet({ roundsMs: [5] })
  const [a, b, c] = [await net.add(), await net.add(), await net.add()]
  for (const other of [b, c]) a.directory.meet(other.hello(), other.host)
  net.silent.add(c.host)
  await a.keeper.issue({ overlapMs: DAY_MS })
  const { reached, notReached } = await a.courier.tellAll()
  assert.deepEqual([reached, notReached].map(idsOf), [[b.nodeId], [c.nodeId]])
  assert.deepEqual(b.keeper.keys.newest, a.keeper.keys.newest)
  net.silent.clear()
  await until(() => c.keeper.mark === a.keeper.mark)
})

test('who is told hands it on to those that he knows', async () => {
  await using net = openNet()
  const nodes = [await net.add(), await net.add(), await net.add()]
  const [a, b, c] = nodes
  assert.ok(a && b && c)
  a.directory.meet(b.hello(), b.host)
  b.directory.meet(c.hello(), c.host)
  await a.keeper.issue({ overlapMs: DAY_MS })
  await a.courier.tellAll()
  await until(() => c.keeper.mark === a.keeper.mark)
})

test('two that meet and do not know the same tell each other, again where that failed', async () => {
  await using net = openNet()
  const [a, b] = [await net.add(), await net.add()]
  await a.keeper.issue({ overlapMs: DAY_MS })
  net.silent.add(a.host)
  b.meets(a)
  await until(() => net.asked > 0)
  assert.notEqual(b.keeper.mark, a.keeper.mark)
  net.silent.clear()
  await until(() => {
    b.meets(a)
    return b.keeper.mark === a.keeper.mark
  })
  const { asked } = net
  b.meets(a)
  assert.equal(net.asked, asked)
})

test('two that shut each other out do not ask for ever', async () => {
  await using net = openNet()
  const [a, b] = [await net.add(), await net.add()]
  await a.keeper.issue({ revoked: [b.nodeId], overlapMs: 0 })
  await b.keeper.issue({ revoked: [a.nodeId], overlapMs: 0 })
  b.meets(a)
  await until(() => net.asked === 1 && net.running === 0)
  for (let round = 0; round < 3; round += 1) b.meets(a)
  assert.equal(net.asked, 1)
  assert.notEqual(b.keeper.mark, a.keeper.mark)
})

test('does not wait for all of many that are off, nor tell who is shut out', async () => {
  await using net = openNet({ tellAllMs: 0 })
  const [a, b] = [await net.add(), await net.add()]
  for (const other of [b]) a.directory.meet(other.hello(), other.host)
  a.keeper.book.note({ nodeId: 'e'.repeat(64), nodeName: 'off', host: 'off', port: 1 })
  a.keeper.book.note({ nodeId: 'f'.repeat(64), nodeName: 'out', host: 'out', port: 1 })
  await a.keeper.issue({ revoked: ['f'.repeat(64)], overlapMs: 0 })
  const { reached, notReached } = await a.courier.tellAll()
  assert.deepEqual(
    idsOf([...reached, ...notReached]).toSorted(),
    [b.nodeId, 'e'.repeat(64)].toSorted(),
  )
  assert.ok(!net.hosts.has('out'))
})

test('garbage for an answer changes nothing', async () => {
  await using net = openNet()
  const [a, b] = [await net.add(), await net.add()]
  const { mark } = a.keeper
  for (const answer of [
    undefined,
    {},
    { orders: [] },
    { orders: [{}], mark },
    { orders: 1, mark },
  ]) {
    net.instead = () => answer
    assert.equal(await a.courier.exchange({ host: b.host, port: 1 }), 'failed')
  }
  assert.equal(a.keeper.mark, mark)
  await assert.rejects(a.courier.answer({ orders: [] }, b.nodeId), { code: 'MESSAGE_INVALID' })
  await assert.rejects(a.courier.answer([], b.nodeId), { code: 'RECORD_INVALID' })
})

function idsOf(recipients: readonly { nodeId: string }[]): string[] {
  return recipients.map(({ nodeId }) => nodeId)
}

/** Couriers that reach each other by name, without a network. */
function openNet(options: { roundsMs?: readonly number[]; tellAllMs?: number } = {}) {
  const resources = new AsyncDisposableStack()
  const couriers = new Map<string, KeyCourier>()
  const hosts = new Set<string>()
  const silent = new Set<string>()
  let key: SwarmKey | undefined
  const net = {
    silent,
    hosts,
    asked: 0,
    running: 0,
    instead: undefined as (() => unknown) | undefined,
    async add() {
      const dataDir = resources.use(await tempDir()).path
      await mkdir(join(dataDir, 'keys'))
      if (key) await writeSwarmKey(swarmKeyPath(dataDir), key)
      const identity = makeNodeIdentity()
      const { nodeId } = identity
      const keeper = resources.use(await KeyKeeper.open({ dataDir, identity, settleMs: 1 }))
      key ??= keeper.keys.newest
      const directory = new PeerDirectory(nodeId)
      const host = `host${couriers.size}`
      const courier = resources.use(
        new KeyCourier({ keeper, directory, log: silentLog, client: clientOf(nodeId), ...options }),
      )
      couriers.set(host, courier)
      keeper.on('taken', () => courier.handOn())
      const hello = () => ({ nodeId, nodeName: host, version: '1', peerPort: 1, keys: keeper.mark })
      return {
        nodeId,
        host,
        keeper,
        directory,
        courier,
        hello,
        meets: (other: { hello: typeof hello; host: string }) =>
          courier.onMet(directory.meet(other.hello(), other.host) satisfies KnownPeer),
      }
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
  const clientOf = (nodeId: string) => ({
    keys: async ({ host }: { host: string }, question: object) => {
      net.asked += 1
      net.running += 1
      hosts.add(host)
      try {
        const courier = couriers.get(host)
        if (!courier || silent.has(host)) throw new OperationError('NODE_UNREACHABLE', host)
        const copy: unknown = JSON.parse(JSON.stringify(question))
        const answer = net.instead ? net.instead() : await courier.answer(copy, nodeId)
        return JSON.parse(JSON.stringify(answer ?? null)) as unknown
      } finally {
        net.running -= 1
      }
    },
  })
  return net
}
