/** For tests: what nodes of a testnet know of keys, and whether they still get on with each other. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

import { OperationError } from '../errors.ts'
import {
  makeNodeIdentity,
  openNodeIdentity,
  type NodeIdentity,
} from '../membership/node-identity.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { memberSecrets } from '../peering/channel-secret.ts'
import { PeerClient } from '../peering/peer-client.ts'
import { SecureChannel } from '../peering/secure-channel.ts'
import { until } from './dht-testnet.ts'
import { writeLayout, type TestNode, type Testnet } from './testnet.ts'
import { parseInvite } from '../membership/invite.ts'

/** The swarm that a node is in, as it says everywhere. */
export async function idOf(node: TestNode): Promise<string> {
  const { swarmId } = await node.run(node.node.operations.swarmId, {})
  assert.equal(node.node.ready.swarmId, swarmId)
  return swarmId
}

/** All of them are in the swarm of the first. */
export async function agree(...nodes: readonly TestNode[]): Promise<void> {
  await until(async () => new Set(await Promise.all(nodes.map(idOf))).size === 1)
}

/** Whom a node shows. */
export async function peerNames(node: TestNode): Promise<string[]> {
  const { peers } = await node.run(node.node.operations.peers, {})
  return (peers as readonly { nodeName: string }[]).map(({ nodeName }) => nodeName)
}

/** Each of them has met all others. */
export async function met(...nodes: readonly TestNode[]): Promise<void> {
  await until(async () => {
    const names = await Promise.all(nodes.map(peerNames))
    return names.every(({ length }) => length >= nodes.length - 1)
  })
}

/** Nodes that have met each other. */
export async function startAll<const Names extends readonly string[]>(
  net: Testnet,
  ...names: Names
): Promise<{ [Index in keyof Names]: TestNode }> {
  const nodes: TestNode[] = []
  for (const name of names) nodes.push(await net.start(name))
  await met(...nodes)
  return nodes as { [Index in keyof Names]: TestNode }
}

/** A new image on a node, with layers of these sizes. @returns its name */
export async function importImage(
  net: Testnet,
  node: TestNode,
  ...layers: number[]
): Promise<string> {
  const name = randomBytes(8).toString('hex')
  const { path } = await writeLayout(join(net.dir, name), layers)
  await node.run(node.node.operations.import, { path, name: `local/${name}:1` })
  return `local/${name}:1`
}

/** An image of one node is pulled by another, all of it from peers. */
export async function assertPulls(net: Testnet, from: TestNode, to: TestNode): Promise<void> {
  const reference = await importImage(net, from, 1_500_000, 1000)
  const pulled = await to.run(to.node.operations.pull, { reference, load: false })
  assert.equal(pulled.bytes.peers, pulled.size)
}

/** What a node is told that comes with this identity and this key: `member`, or the code of its error. */
export async function askAs(
  {
    swarmKey,
    identity = makeNodeIdentity(),
    peerPort = 1,
  }: { swarmKey: string; identity?: NodeIdentity; peerPort?: number },
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

/** The key that others are invited with, hex. */
export async function keyOf(node: TestNode): Promise<string> {
  const { invite } = await node.run(node.node.operations.swarmInvite, {})
  const parsed = parseInvite(invite)
  assert.ok(parsed.kind === 'key')
  return parsed.key.toString('hex')
}

/** Waits until who was met before, and comes with this key, is told nothing any more but which one there is now. */
export async function oldKeyEnded(
  swarmKey: string,
  { known, at }: { known: TestNode; at: TestNode },
): Promise<void> {
  const identity = await openNodeIdentity(known.dataDir)
  const { peerPort } = known.node.ready
  await until(
    async () => (await askAs({ identity, swarmKey, peerPort }, at)) === 'SWARM_KEY_OUTDATED',
  )
}
