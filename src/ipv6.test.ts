/** Whole nodes that reach each other by IPv6, and one that is reached in two ways. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import type { PeerStatus } from './status/node-status.ts'
import { openTestnet, writeLayout, type TestNode } from './testing/testnet.ts'

const MIB = 1024 * 1024

for (const swarm of ['closed', 'public'] as const) {
  test(`an image goes from node to node by IPv6 alone, ${swarm} swarm`, async () => {
    await using net = await openTestnet()
    const image = await writeLayout(join(net.dir, 'image'), [3 * MIB, 500])
    const shared = { peerHost: '::1', swarm }
    const a = await net.start('a', { ...shared, discovery: ['none'] })
    await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
    const discovery = [`static:[::1]:${a.node.ready.peerPort}`]
    const [b, c] = [
      await net.start('b', { ...shared, discovery }),
      await net.start('c', { ...shared, discovery }),
    ]
    const pulled = await Promise.all([b, c].map(pull))
    for (const { bytes, size } of pulled) assert.equal(bytes.peers, size)
    assert.deepEqual(await addressesAt(b, 'a'), [`[::1]:${a.node.ready.peerPort}`])
  })
}

test('a node that is named under two addresses is one peer, and is asked once', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [3 * MIB, 500])
  const a = await net.start('a', { peerHost: '::' })
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  const { peerPort } = a.node.ready
  const discovery = ['127.0.0.1', '[::1]', '127.0.0.2'].map((host) => `static:${host}:${peerPort}`)
  const b = await net.start('b', { discovery })
  const { bytes, size } = await pull(b)
  assert.equal(bytes.peers, size)
  assert.equal((await addressesAt(b, 'a')).length, 1)
})

async function pull(on: TestNode) {
  return on.run(on.node.operations.pull, { reference: 'local/app:1', load: false })
}

async function addressesAt(on: TestNode, nodeName: string): Promise<string[]> {
  const { peers } = await on.run(on.node.operations.peers, {})
  return (peers as readonly PeerStatus[])
    .filter((peer) => peer.nodeName === nodeName)
    .map(({ address }) => address)
}
