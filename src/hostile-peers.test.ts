import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf, hexOf, type Digest } from './oci/digest.ts'
import type { NodeStatus } from './status/node-status.ts'
import { openHostileMember } from './testing/hostile-member.ts'
import { readBody, transfersAt } from './testing/node-reading.ts'
import { openTestnet, writeLayout, type TestNode } from './testing/testnet.ts'

const MIB = 1024 * 1024

test('one of three seeds sends wrong bytes: the pull succeeds, and the liar is cut off and named', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [12 * MIB])
  const [layer] = image.layers
  assert.ok(layer)
  for (const name of ['good', 'better', 'liar']) {
    const seed = await net.start(name, { uploadBytesPerSecond: 8 * MIB })
    await seed.run(seed.node.operations.import, { path: image.path, name: 'app:1' })
    if (name === 'liar') await spoil(seed, layer.digest, (bytes) => bytes.map((byte) => byte ^ 1))
  }
  const puller = await net.start('puller')
  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  const body = await readBody(
    `http://${puller.node.ready.registry}/v2/local/app/blobs/${layer.digest}`,
  )
  assert.equal(digestOf(body.bytes), layer.digest)
  assert.ok(body.isWhole)
  const { bannedPeers } = (await (await puller.get('/api/v1/status')).json()) as NodeStatus
  assert.deepEqual(
    bannedPeers.map(({ nodeName, state }) => [nodeName, state]),
    [['liar', 'banned']],
  )
  const [liar] = bannedPeers
  assert.ok(liar && liar.badPieces >= 1 && liar.badPieces <= 3, `${liar?.badPieces} wrong pieces`)
})

test('who says that a manifest is a gigabyte is not asked for it', async () => {
  await using net = await openTestnet()
  await using liar = await openHostileMember(net.swarmKey)
  const manifest = randomBytes(1000)
  const digest = digestOf(manifest)
  liar.blobs.set(digest, manifest)
  liar.claimedBytes = 1024 * MIB
  const puller = await net.start('puller', { discovery: [liar.discovery] })
  assert.equal((await puller.get(`/v2/local/app/manifests/${digest}`)).status, 404)
  const [transfer] = await transfersAt(puller.node.ready.registry)
  assert.equal(transfer?.size ?? -1, -1)
  assert.deepEqual(await readdir(join(puller.dataDir, 'partial')), [])
})

test('right pieces of wrong content never end like the blob, are not kept, and are not taken again', async () => {
  await using net = await openTestnet()
  const image = await writeLayout(join(net.dir, 'image'), [3 * MIB])
  const [layer] = image.layers
  assert.ok(layer)
  const liar = await net.start('liar')
  await liar.run(liar.node.operations.import, { path: image.path, name: 'app:1' })
  // Without its catalog it hashes what it finds, and vouches for that with the key of the swarm.
  await liar.stop()
  await spoil(liar, layer.digest, (bytes) => bytes.map((byte) => byte ^ 1))
  await rm(join(liar.dataDir, 'catalog'), { recursive: true })
  await net.start('liar')
  const puller = await net.start('puller')
  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  const url = `http://${puller.node.ready.registry}/v2/local/app/blobs/${layer.digest}`
  const body = await readBody(url)
  assert.equal(body.isWhole, false)
  assert.ok(body.bytes.length < layer.bytes.length)
  const [transfer] = await transfersAt(puller.node.ready.registry)
  assert.equal(transfer?.code, 'BLOB_DIGEST_MISMATCH')
  assert.equal(
    (await puller.get(`/v2/local/app/blobs/${layer.digest}`, { method: 'HEAD' })).status,
    404,
  )
  const { bannedPeers } = (await (await puller.get('/api/v1/status')).json()) as NodeStatus
  assert.deepEqual(
    bannedPeers.map(({ nodeName }) => nodeName),
    ['liar'],
  )
  // An honest node makes up for it.
  const honest = await net.start('honest')
  await honest.run(honest.node.operations.import, { path: image.path, name: 'app:1' })
  assert.equal(digestOf((await readBody(url)).bytes), layer.digest)
})

/** Changes the bytes of a blob behind the back of its node. */
async function spoil(
  node: TestNode,
  digest: Digest,
  change: (bytes: Buffer) => Uint8Array,
): Promise<void> {
  const hex = hexOf(digest)
  const path = join(node.dataDir, 'blobs/sha256', hex.slice(0, 2), hex)
  await chmod(path, 0o644)
  await writeFile(path, change(await readFile(path)))
}
