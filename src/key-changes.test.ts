/** The key of a swarm changes, and members are shut out, while real nodes run. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'

import { OperationError } from './errors.ts'
import {
  makeNodeIdentity,
  openNodeIdentity,
  type NodeIdentity,
} from './membership/node-identity.ts'
import type { SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { memberSecrets } from './peering/channel-secret.ts'
import { PeerClient } from './peering/peer-client.ts'
import { SecureChannel } from './peering/secure-channel.ts'
import { until } from './testing/dht-testnet.ts'
import { openTestnet, writeLayout, type TestNode, type Testnet } from './testing/testnet.ts'

const DAY_MS = 86_400_000
const MIB = 1024 * 1024
const ROTATE = { overlapMs: 1000 }

test('all members get a new key, and pulls go on with it', async () => {
  await using net = await openTestnet()
  const [a, b, c] = [await net.start('a'), await net.start('b'), await net.start('c')]
  await met(a, b, c)
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
  await until(async () => new Set(await Promise.all(nodes.map(idOf))).size === 1)
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
    if (isRevoked) await oldKeyEnded(net, off, a)
    const again = await net.start('off', { discovery: ['none'] })
    await until(async () => (await idOf(again)) === (await idOf(a)))
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
  await oldKeyEnded(net, b, a)
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
  const pulls: { startMs: number; endMs: number }[] = []
  const pull = async (node: TestNode, reference: string): Promise<void> => {
    const startMs = performance.now()
    const pulled = await node.run(node.node.operations.pull, { reference, load: false })
    assert.equal(pulled.bytes.peers, pulled.size)
    pulls.push({ startMs, endMs: performance.now() })
  }
  const over = new AbortController()
  const keepPulling = async (node: TestNode): Promise<void> => {
    while (!over.signal.aborted) await pull(node, await importImage(net, a, MIB + 7, 100_000, 500))
  }
  const pulling = Promise.all([pull(c, long), keepPulling(b), keepPulling(c)])
  const changes: number[] = []
  const change = async (node: TestNode, make: () => Promise<unknown>): Promise<void> => {
    const done = pulls.length
    await until(() => pulls.length > done + 1)
    changes.push(performance.now())
    await make()
    // all that comes with it: others send with the new key, the old one ends
    await until(async () => (await askAs(await strangerOf(net), node)) !== 'member')
  }
  await Promise.race([pulling, change(b, () => b.run(b.node.operations.swarmRotate, ROTATE))])
  await Promise.race([
    pulling,
    change(a, () => a.run(a.node.operations.swarmRevoke, { nodes: ['m'] })),
  ])
  await oldKeyEnded(net, b, a)
  const endMs = performance.now()
  await until(() => pulls.filter(({ startMs }) => startMs > endMs).length >= 4)
  over.abort()
  await pulling
  const under = changes.map((atMs) =>
    pulls.filter((each) => each.startMs < atMs && atMs < each.endMs),
  )
  t.diagnostic(
    `${pulls.length} pulls, under way at the changes: ${under.map(({ length }) => length).join(', ')}`,
  )
  assert.ok(under.every(({ length }) => length > 0))
  await assert.rejects(m.run(m.node.operations.pull, { reference: long, load: false }))
})

async function idOf(node: TestNode): Promise<string> {
  const { swarmId } = await node.run(node.node.operations.swarmId, {})
  assert.equal(node.node.ready.swarmId, swarmId)
  return swarmId
}

async function peerNames(node: TestNode): Promise<string[]> {
  const { peers } = await node.run(node.node.operations.peers, {})
  return (peers as readonly { nodeName: string; state: string }[]).map(({ nodeName }) => nodeName)
}

/** Each of them has met all others. */
async function met(...nodes: readonly TestNode[]): Promise<void> {
  await until(async () => {
    const names = await Promise.all(nodes.map(peerNames))
    return names.every(({ length }) => length >= nodes.length - 1)
  })
}

async function startAll<const Names extends readonly string[]>(
  net: Testnet,
  ...names: Names
): Promise<{ [Index in keyof Names]: TestNode }> {
  const nodes: TestNode[] = []
  for (const name of names) nodes.push(await net.start(name))
  await met(...nodes)
  return nodes as { [Index in keyof Names]: TestNode }
}

/** A new image on a node, with layers of these sizes. @returns its name */
async function importImage(net: Testnet, node: TestNode, ...layers: number[]): Promise<string> {
  const name = randomBytes(8).toString('hex')
  const { path } = await writeLayout(join(net.dir, name), layers)
  await node.run(node.node.operations.import, { path, name: `local/${name}:1` })
  return `local/${name}:1`
}

async function strangerOf({
  swarmKey,
}: Testnet): Promise<{ identity: NodeIdentity; swarmKey: string }> {
  return { identity: makeNodeIdentity(), swarmKey }
}

/** An image of one node is pulled by another, all of it from peers. */
async function assertPulls(net: Testnet, from: TestNode, to: TestNode): Promise<void> {
  const reference = await importImage(net, from, 1_500_000, 1000)
  const pulled = await to.run(to.node.operations.pull, { reference, load: false })
  assert.equal(pulled.bytes.peers, pulled.size)
}

/** What a node is told that comes with this identity and this key: `member`, or the code of its error. */
async function askAs(
  {
    identity,
    swarmKey,
    peerPort = 1,
  }: { identity: NodeIdentity; swarmKey: string; peerPort?: number },
  { node: { ready } }: TestNode,
): Promise<string> {
  const keys = new SwarmKeys(Buffer.from(swarmKey, 'hex') as SwarmKey)
  const channel = new SecureChannel({ secrets: memberSecrets(keys), identity })
  using client = new PeerClient(keys, channel)
  const hello = { nodeId: identity.nodeId, nodeName: 'x', version: '1', peerPort }
  try {
    await client.hello({ host: '127.0.0.1', port: ready.peerPort }, hello)
    return 'member'
  } catch (error) {
    if (error instanceof OperationError) return error.code
    throw error
  }
}

/** Those who were met before are told nothing any more but which key there is now. */
async function oldKeyEnded(net: Testnet, known: TestNode, at: TestNode): Promise<void> {
  const identity = await openNodeIdentity(known.dataDir)
  const { peerPort } = known.node.ready
  const ask = () => askAs({ identity, swarmKey: net.swarmKey, peerPort }, at)
  await until(async () => (await ask()) === 'SWARM_KEY_OUTDATED')
}
