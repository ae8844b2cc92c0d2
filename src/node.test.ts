import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import type { OperationError } from './errors.ts'
import { makeNodeIdentity } from './membership/node-identity.ts'
import type { SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { digestOf, hexOf, type Digest } from './oci/digest.ts'
import { MEDIA_TYPES } from './oci/media-types.ts'
import { hostPlatform } from './oci/platform.ts'
import { PeerClient } from './peering/peer-client.ts'
import { memberSecrets } from './peering/channel-secret.ts'
import { SecureChannel } from './peering/secure-channel.ts'
import type { ImageStatus, TransferStatus } from './status/node-status.ts'
import { openTestnet, writeLayout, type LayoutFixture, type TestNode } from './testing/testnet.ts'

const MIB = 1024 * 1024

test('an image that one node imported is pulled through the door of another, all of it from peers', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [5 * MIB, 2 * MIB + 1, 1000, 0])
  const [a, b] = [await net.start('a'), await net.start('b')]
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  const manifest = await b.get('/v2/local/app/manifests/1')
  assert.equal(manifest.status, 200)
  assert.equal(digestOf(Buffer.from(await manifest.arrayBuffer())), image.manifest)
  await assertLayersAt(b, image)
  for (const { digest, size, bytes, state } of await transfersOf(b)) {
    assert.deepEqual(
      { digest, bytes, state },
      { digest, state: 'done', bytes: { store: 0, peers: size, upstream: 0 } },
    )
  }
})

test('peer bytes are counted alike at both ends, whole blobs and pieces', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB, 1000])
  const [a, b] = [await net.start('a'), await net.start('b')]
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  const pulled = await b.run(b.node.operations.pull, { reference: 'local/app:1', load: false })
  const manifestBytes = (await (await b.get('/v2/local/app/manifests/1')).arrayBuffer()).byteLength
  const counted = async (node: TestNode, direction: 'in' | 'out') => {
    const text = await (await node.get('/metrics')).text()
    return Number(
      new RegExp(`ddocker_peer_bytes_total\\{direction="${direction}"\\} (\\d+)`).exec(text)?.[1],
    )
  }
  assert.equal(await counted(b, 'in'), pulled.size + manifestBytes)
  assert.equal(await counted(a, 'out'), pulled.size + manifestBytes)
})

test('what was pulled is pulled from the puller when the first holder is gone', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [3 * MIB, 10])
  const [a, b, c] = [await net.start('a'), await net.start('b'), await net.start('c')]
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  await b.run(b.node.operations.pull, { reference: 'local/app:1', load: false })
  await a.stop()
  const pulled = await c.run(c.node.operations.pull, { reference: 'local/app:1', load: false })
  assert.equal(pulled.bytes.peers, pulled.size)
  await assertLayersAt(c, image)
})

test('a name means what the newest record says, on one node what that node says', async () => {
  await using net = await openTestnet()
  const old = await writeLayout(join(net.dir, 'old'), [10])
  const young = await writeLayout(join(net.dir, 'young'), [20])
  const [a, b, c] = [await net.start('a'), await net.start('b'), await net.start('c')]
  await a.run(a.node.operations.import, { path: old.path, name: 'app:1' })
  await b.run(b.node.operations.import, { path: young.path, name: 'app:1' })
  const digestAt = async (path: string) =>
    (await c.get(path, { method: 'HEAD' })).headers.get('docker-content-digest')
  assert.equal(await digestAt('/v2/local/app/manifests/1'), young.manifest)
  assert.equal(await digestAt('/v2/node/a/app/manifests/1'), old.manifest)
  assert.equal(await digestAt('/v2/node/b/app/manifests/1'), young.manifest)
  assert.equal(await digestAt('/v2/app/manifests/1'), young.manifest)
  assert.equal((await c.get('/v2/node/nobody/app/manifests/1')).status, 404)
})

test('an image of more layers than a member may have connections comes from one holder', async () => {
  await using net = await openTestnet()
  const layers = Array.from({ length: 36 }, () => MIB + 1000)
  const image = await writeLayout(join(net.dir, 'image'), layers)
  const seed = await net.start('seed')
  await seed.run(seed.node.operations.import, { path: image.path, name: 'app:1' })
  const puller = await net.start('puller')
  const order = { reference: 'local/app:1', load: false }
  const { bytes } = await puller.run(puller.node.operations.pull, order)
  assert.ok(bytes.peers > 36 * MIB)
  const waits = (await transfersOf(puller)).map(({ ms }) => ms)
  assert.ok(Math.max(...waits) < 5000, `a layer took ${Math.max(...waits)} ms`)
})

test('a node of another swarm learns nothing', async () => {
  await using net = await openTestnet()
  await using other = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB])
  const a = await net.start('a')
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  const discovery = [
    `bootstrap:127.0.0.1:${a.node.ready.peerPort}`,
    `static:127.0.0.1:${a.node.ready.peerPort}`,
  ]
  const stranger = await other.start('stranger', { discovery })
  assert.equal((await stranger.get('/v2/local/app/manifests/1')).status, 404)
  assert.equal((await stranger.get(`/v2/local/app/blobs/${image.layers[0]?.digest}`)).status, 404)
  assert.deepEqual(await stranger.run(stranger.node.operations.peers, {}), { peers: [] })
})

test('a warm-up brings the image to every node, and names the one that does not answer', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB, 500])
  const [a, b, c] = [await net.start('a'), await net.start('b'), await net.start('c')]
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  const order = { references: ['local/app:1'], load: false, parallel: 4 }
  const warmed = await a.run(a.node.operations.warm, order)
  assert.deepEqual(
    warmed.nodes.map(({ nodeName, state }) => [nodeName, state]),
    [
      ['a', 'done'],
      ['b', 'done'],
      ['c', 'done'],
    ],
  )
  await b.stop()
  const again = await a.run(a.node.operations.warm, order)
  assert.deepEqual(
    again.nodes.map(({ nodeName, state }) => [nodeName, state]),
    [
      ['a', 'done'],
      ['b', 'failed'],
      ['c', 'done'],
    ],
  )
  const named = await a.run(a.node.operations.warm, { ...order, nodes: ['c', 'nobody'] })
  assert.deepEqual(
    named.nodes.map(({ nodeName, state }) => [nodeName, state]),
    [
      ['c', 'done'],
      ['nobody', 'failed'],
    ],
  )
  assert.ok(c)
})

test('a node whose catalog was lost serves what it holds', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB])
  const first = await net.start('first')
  const a = await net.start('a')
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  await a.stop()
  await rm(join(a.dataDir, 'catalog'), { recursive: true })
  await writeFile(join(a.dataDir, 'catalog'), 'not a folder')
  const again = await net.start('a')
  assert.equal((await again.get('/v2/local/app/manifests/1')).status, 200)
  const pulled = await first.run(first.node.operations.pull, {
    reference: 'local/app:1',
    load: false,
  })
  assert.equal(pulled.bytes.peers, pulled.size)
})

test('of an image for two platforms the one that is here is served, the other is not said to be', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB])
  const absent = digestOf('a manifest for another platform')
  const index = await wrapInIndex(image, absent)
  const [a, b] = [await net.start('a'), await net.start('b')]
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  for (const node of [a, b]) {
    const served = await node.get('/v2/local/app/manifests/1')
    assert.equal(served.headers.get('docker-content-digest'), index)
    assert.equal((await node.get(`/v2/local/app/manifests/${image.manifest}`)).status, 200)
    for (const method of ['HEAD', 'GET']) {
      assert.equal((await node.get(`/v2/local/app/manifests/${absent}`, { method })).status, 404)
    }
    await assertLayersAt(node, image)
  }
  const pulled = await b.run(b.node.operations.pull, { reference: 'local/app:1', load: false })
  assert.equal(pulled.digest, index)
})

test('an image that lacks a layer is not held whole, and its layer is not said to be there', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB, 1000])
  const [layer] = image.layers
  assert.ok(layer)
  const [a, b] = [await net.start('a'), await net.start('b')]
  await a.run(a.node.operations.import, { path: image.path, name: 'app:1' })
  const hex = hexOf(layer.digest)
  await rm(join(a.dataDir, 'blobs/sha256', hex.slice(0, 2), hex))
  const { images } = await a.run(a.node.operations.list, {})
  assert.deepEqual(
    images.map((held) => (held as ImageStatus).complete),
    [false],
  )
  assert.equal((await b.get('/v2/local/app/manifests/1')).status, 200)
  for (const method of ['HEAD', 'GET']) {
    assert.equal((await b.get(`/v2/local/app/blobs/${layer.digest}`, { method })).status, 404)
  }
  await assert.rejects(b.run(b.node.operations.pull, { reference: 'local/app:1', load: false }), {
    code: 'BLOB_UNKNOWN',
  })
})

test('only members may order a warm-up, and others are told nothing', async () => {
  await using net = await openTestnet()
  const a = await net.start('a')
  const { nodeId, peerPort: port } = a.node.ready
  const order = { nodeId, references: ['app:1'], load: false, parallel: 1 }
  const url = `http://127.0.0.1:${port}/dd/1/warm`
  await assert.rejects(fetch(url, { method: 'POST', body: JSON.stringify(order) }), TypeError)
  const stranger = new SwarmKeys(randomBytes(32) as SwarmKey)
  const identity = makeNodeIdentity()
  using client = new PeerClient(
    stranger,
    new SecureChannel({ secrets: memberSecrets(stranger), identity }),
  )
  await assert.rejects(
    Array.fromAsync(client.warm({ host: '127.0.0.1', port }, order)),
    // the alert, or the end of the connection where that was faster
    (error: OperationError) => ['REQUEST_UNPROVEN', 'NODE_UNREACHABLE'].includes(error.code),
  )
})

/** Puts an image index over the manifest of a layout, which names a manifest that is not there as well. */
async function wrapInIndex(image: LayoutFixture, absent: Digest): Promise<Digest> {
  const mediaType = MEDIA_TYPES.ociManifest
  const { size } = await stat(join(image.path, 'blobs/sha256', hexOf(image.manifest)))
  const { os, architecture } = hostPlatform()
  const other = architecture === 'arm64' ? 'amd64' : 'arm64'
  const manifests = [
    { mediaType, digest: image.manifest, size, platform: { os, architecture } },
    { mediaType, digest: absent, size: 500, platform: { os, architecture: other } },
  ]
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }),
  )
  const root = { mediaType: MEDIA_TYPES.ociIndex, digest: digestOf(bytes), size: bytes.length }
  await writeFile(join(image.path, 'blobs/sha256', hexOf(root.digest)), bytes)
  await writeFile(
    join(image.path, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [root] }),
  )
  return root.digest
}

async function assertLayersAt(node: TestNode, image: LayoutFixture): Promise<void> {
  for (const { digest, bytes } of image.layers) {
    const answer = await node.get(`/v2/local/app/blobs/${digest}`)
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('content-length'), String(bytes.length))
    const found = createHash('sha256')
      .update(Buffer.from(await answer.arrayBuffer()))
      .digest('hex')
    assert.equal(`sha256:${found}`, digest)
  }
}

async function transfersOf(node: TestNode): Promise<TransferStatus[]> {
  const answer = (await (await node.get('/api/v1/transfers')).json()) as {
    transfers: TransferStatus[]
  }
  return answer.transfers
}
