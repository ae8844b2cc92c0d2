/** The key of a swarm changes, and members are shut out, while real nodes run. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { parseInvite } from './membership/invite.ts'
import { makeNodeIdentity, openNodeIdentity } from './membership/node-identity.ts'
import { openOffline } from './node.ts'
import { joinSwarm } from './peering/join-swarm.ts'
import type { PeerStatus } from './status/node-status.ts'
import { silentLog } from './telemetry/log.ts'
import { until } from './testing/dht-testnet.ts'
import {
  agree,
  askAs,
  assertPulls,
  idOf,
  keyOf,
  importImage,
  met,
  oldKeyEnded,
  peerNames,
  startAll,
} from './testing/key-stage.ts'
import { configOf, openTestnet, writeLayout, type TestNode } from './testing/testnet.ts'

const DAY_MS = 86_400_000
const MIB = 1024 * 1024

test('all members get a new key, and pulls go on with it', async () => {
  await using net = await openTestnet()
  const [a, b, c] = await startAll(net, 'a', 'b', 'c')
  const before = await idOf(a)
  const fixture = await writeLayout(join(net.dir, 'image'), [2_000_000])
  await a.run(a.node.operations.import, { path: fixture.path, name: 'local/app:1' })

  const result = await b.run(b.node.operations.swarmRotate, { overlapMs: DAY_MS })
  assert.equal(result.previousSwarmId, before)
  assert.deepEqual(result.notReached, [])
  assert.deepEqual(result.reached.map(({ nodeName }) => nodeName).toSorted(), ['a', 'c'])
  for (const node of [a, b, c]) assert.equal(await idOf(node), result.swarmId)
  const pulled = await c.run(c.node.operations.pull, { reference: 'local/app:1', load: false })
  assert.equal(pulled.bytes.peers, pulled.size)
})

test('two keys at the same moment: all agree on one of them', async () => {
  await using net = await openTestnet()
  const nodes = await startAll(net, 'a', 'b', 'c', 'd')
  const [a, b, c] = nodes
  await Promise.all([
    a.run(a.node.operations.swarmRotate, { overlapMs: DAY_MS }),
    b.run(b.node.operations.swarmRotate, { overlapMs: DAY_MS }),
    c.run(c.node.operations.swarmRotate, { overlapMs: DAY_MS }),
  ])
  await agree(...nodes)
  await assertPulls(net, a, c)
})

for (const { name, change, isRevoked } of [
  {
    name: 'changed',
    isRevoked: false,
    change: (node: TestNode) => node.run(node.node.operations.swarmRotate, { overlapMs: DAY_MS }),
  },
  {
    name: 'taken away from somebody',
    isRevoked: true,
    change: (node: TestNode) => node.run(node.node.operations.swarmRevoke, { nodes: ['m'] }),
  },
]) {
  test(`a member that was off while the key was ${name} is one again, and its names count`, async () => {
    await using net = await openTestnet()
    const [a, off, m] = await startAll(net, 'a', 'off', 'm')
    const image = await writeLayout(join(net.dir, 'image'), [1000])
    await off.run(off.node.operations.import, { path: image.path, name: 'local/off:1' })
    await off.stop()
    const { notReached } = await change(a)
    assert.ok(notReached.some(({ nodeName }) => nodeName === 'off'))
    if (isRevoked) await oldKeyEnded(net.swarmKey, { known: off, at: a })
    const again = await net.start('off')
    await agree(a, again)
    await met(a, again)
    const pulled = await a.run(a.node.operations.pull, { reference: 'local/off:1', load: false })
    assert.equal(pulled.bytes.peers, pulled.size)
    await assertPulls(net, a, again)
    await m.stop()
  })
}

test('who is shut out gets nothing more, under no name, and what it said counts no more', async () => {
  await using net = await openTestnet()
  const [a, b, m] = await startAll(net, 'a', 'b', 'm')
  const image = await writeLayout(join(net.dir, 'image'), [300_000])
  await m.run(m.node.operations.import, { path: image.path, name: 'local/bad:1' })
  assert.ok(await b.run(b.node.operations.pull, { reference: 'local/bad:1', load: false }))
  const secret = await writeLayout(join(net.dir, 'secret'), [300_000])
  await a.run(a.node.operations.import, { path: secret.path, name: 'local/secret:1' })

  const { nodeId } = m.node.ready
  const result = await a.run(a.node.operations.swarmRevoke, { nodes: [nodeId.slice(0, 12)] })
  assert.deepEqual(result.revoked, [{ nodeId, nodeName: 'm' }])
  assert.deepEqual(
    result.reached.map(({ nodeName }) => nodeName),
    ['b'],
  )
  const old = await idOf(m)
  assert.notEqual(await idOf(b), old)
  await assert.rejects(
    m.run(m.node.operations.pull, { reference: 'local/secret:1', load: false }),
    { code: 'IMAGE_UNKNOWN' },
  )
  for (const node of [a, b]) assert.ok(!(await peerNames(node)).includes('m'))
  await oldKeyEnded(net.swarmKey, { known: b, at: a })
  await assert.rejects(
    m.run(m.node.operations.pull, { reference: 'local/secret:1', load: false }),
    { code: 'IMAGE_UNKNOWN' },
  )
  assert.equal(await idOf(m), old)
  const { swarmKey } = net
  for (const identity of [await openNodeIdentity(m.dataDir), makeNodeIdentity()])
    assert.notEqual(await askAs({ identity, swarmKey }, a), 'member')
  await assert.rejects(a.run(a.node.operations.pull, { reference: 'local/bad:1', load: false }), {
    code: 'IMAGE_UNKNOWN',
  })
  await assertPulls(net, a, b)
})

test('the key is changed, and taken away from a member, while pulls run: none fails', async (t) => {
  await using net = await openTestnet()
  const a = await net.start('a', { uploadBytesPerSecond: 6 * MIB })
  const [b, c, m] = [await net.start('b'), await net.start('c'), await net.start('m')]
  await met(a, b, c, m)
  const long = await importImage(net, a, 18 * MIB)
  const over = new AbortController()
  let [running, done] = [0, 0]
  const pull = async (node: TestNode, reference: string): Promise<void> => {
    running += 1
    const pulled = await node.run(node.node.operations.pull, { reference, load: false })
    assert.equal(pulled.bytes.peers, pulled.size)
    running -= 1
    done += 1
  }
  const keepPulling = async (node: TestNode): Promise<void> => {
    while (!over.signal.aborted) await pull(node, await importImage(net, a, MIB + 7, 100_000, 500))
  }
  const pulling = Promise.all([pull(c, long), keepPulling(b), keepPulling(c)])
  const untilMorePulls = async (count: number): Promise<void> => {
    const before = done
    await Promise.race([pulling, until(() => done >= before + count && running > 1)])
  }
  const under: number[] = []
  const change = async (make: () => Promise<unknown>): Promise<void> => {
    await untilMorePulls(2)
    const swarmKey = await keyOf(a)
    under.push(running)
    await Promise.race([pulling, make()])
    // and all that comes with it: others send with the new key, the old one ends
    await Promise.race([pulling, oldKeyEnded(swarmKey, { known: b, at: a })])
  }
  await change(() => b.run(b.node.operations.swarmRotate, { overlapMs: 1000 }))
  await change(() => a.run(a.node.operations.swarmRevoke, { nodes: ['m'] }))
  await untilMorePulls(4)
  over.abort()
  await pulling
  t.diagnostic(`${done} pulls; under way at the changes: ${under.join(', ')}`)
  assert.ok(under.every((count) => count > 0))
  await assert.rejects(m.run(m.node.operations.pull, { reference: long, load: false }))
})

test('who is shut out while others fetch from it is left, and they go on with the rest', async () => {
  await using net = await openTestnet()
  const limit = { uploadBytesPerSecond: 4 * MIB }
  const [a, m] = [await net.start('a', limit), await net.start('m', limit)]
  const b = await net.start('b')
  await met(a, b, m)
  const reference = await importImage(net, a, 12 * MIB)
  await m.run(m.node.operations.pull, { reference, load: false })
  const pulling = b.run(b.node.operations.pull, { reference, load: false })
  await until(async () => (await bytesFrom(b, 'm')) > 0 && (await bytesFrom(b, 'a')) > 0)
  await a.run(a.node.operations.swarmRevoke, { nodes: ['m'] })
  const pulled = await pulling
  assert.equal(pulled.bytes.peers, pulled.size)
  assert.ok(!(await peerNames(b)).includes('m'))
})

test('nodes that are stopped in the middle of a change go on with it', async () => {
  await using net = await openTestnet({ keySettleMs: 60_000 })
  const [a, b] = await startAll(net, 'a', 'b')
  await a.run(a.node.operations.swarmRevoke, { nodes: ['f'.repeat(64)] })
  await Promise.all([a.stop(), b.stop()])
  const [again, other] = [await net.start('a'), await net.start('b')]
  await met(again, other)
  await agree(again, other)
  assert.notEqual(await askAs(net, again), 'member')
  await assertPulls(net, again, other)
})

test('a key that was changed while the node was off is handed over at its next start', async () => {
  await using net = await openTestnet()
  const [a, b] = await startAll(net, 'a', 'b')
  const before = await idOf(b)
  await a.stop()
  {
    await using offline = await openOffline(configOf(net, 'a'), { log: silentLog })
    const { swarmRotate } = offline.operations
    const options = { signal: new AbortController().signal, report: () => {} }
    const { notReached } = await swarmRotate({ overlapMs: DAY_MS }, options)
    assert.deepEqual(
      notReached.map(({ nodeName }) => nodeName),
      ['b'],
    )
  }
  const again = await net.start('a')
  await agree(again, b)
  assert.notEqual(await idOf(b), before)
  await assertPulls(net, again, b)
})

test('who joins with the new key finds the others by it, and names from before', async () => {
  await using net = await openTestnet()
  const [a, b, off] = await startAll(net, 'a', 'b', 'off')
  const reference = await importImage(net, off, 1000)
  await b.run(b.node.operations.pull, { reference, load: false })
  await off.stop()
  await a.run(a.node.operations.swarmRevoke, { nodes: ['e'.repeat(64)] })
  const { invite } = await b.run(b.node.operations.swarmInvite, {})
  const parsed = parseInvite(invite)
  assert.ok(parsed.kind === 'key')
  const swarmKeyFile = join(net.dir, 'new.key')
  await writeFile(swarmKeyFile, parsed.key.toString('hex'))
  const late = await net.start('late', { swarmKeyFile })
  await met(a, b, late)
  await agree(a, b, late)
  await assertPulls(net, late, a)
  assert.ok(await late.run(late.node.operations.pull, { reference, load: false }))
  const { swarmRevoke } = late.node.operations
  await late.run(swarmRevoke, { nodes: ['d'.repeat(64)] })
  await agree(a, b, late)
})

test('a ticket that was open is void when somebody is shut out: he may have it', async () => {
  await using net = await openTestnet()
  const [a, b] = await startAll(net, 'a', 'b')
  const { invite } = await b.run(b.node.operations.swarmInvite, { lifetimeMs: 60_000 })
  const parsed = parseInvite(invite)
  assert.ok(parsed.kind === 'ticket')
  const join = () =>
    joinSwarm(
      { ticket: parsed.ticket, identity: makeNodeIdentity() },
      { signal: AbortSignal.timeout(5000) },
    )
  assert.equal((await join()).swarmKey.toString('hex'), net.swarmKey)
  await a.run(a.node.operations.swarmRevoke, { nodes: ['f'.repeat(64)] })
  await assert.rejects(join(), { code: 'INVITE_INVALID' })
})

test('says whom it takes for nobody, for several, or for itself', async () => {
  await using net = await openTestnet()
  const [a] = await startAll(net, 'a', 'b', 'b2')
  const revoke = (...nodes: string[]) => a.run(a.node.operations.swarmRevoke, { nodes })
  for (const text of ['nobody', 'b3', '', 'f'.repeat(63), 'a', a.node.ready.nodeId])
    await assert.rejects(revoke(text), { code: 'NODE_UNKNOWN' })
  const before = await idOf(a)
  await assert.rejects(revoke('b', 'nobody'), { code: 'NODE_UNKNOWN' })
  assert.equal(await idOf(a), before)
})

test("the key of the public swarm is nobody's to change", async () => {
  await using net = await openTestnet()
  const a = await net.start('a', { swarm: 'public' })
  await assert.rejects(a.run(a.node.operations.swarmRotate, { overlapMs: 1 }), {
    code: 'CONFIG_INVALID',
  })
  await assert.rejects(a.run(a.node.operations.swarmRevoke, { nodes: ['b'] }), {
    code: 'CONFIG_INVALID',
  })
})

/** What came from a peer until now. */
async function bytesFrom(node: TestNode, name: string): Promise<number> {
  const { peers } = await node.run(node.node.operations.peers, {})
  const known = peers as readonly PeerStatus[]
  return known.find(({ nodeName }) => nodeName === name)?.bytes.from ?? 0
}
