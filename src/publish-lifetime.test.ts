/** When the public side of a node is there: from the first image to the last, after a restart, and whatever is damaged. */
import assert from 'node:assert/strict'
import { access, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'

import { PUBLIC_SWARM_KEY } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { PeerClient } from './peering/peer-client.ts'
import { ConformanceClient } from './testing/conformance-client.ts'
import { TestContent } from './testing/conformance-data.ts'
import { until } from './testing/dht-testnet.ts'
import {
  digestsOf,
  importImage,
  openSockets,
  publish,
  publishedNames,
  statusOf,
  unpublish,
} from './testing/publishing-node.ts'
import { openRecordedDht } from './testing/recorded-dht.ts'
import { openTestnet } from './testing/testnet.ts'
import { answersHandshake } from './testing/wire-fuzz.ts'

const MIB = 1024 * 1024
const EVERYBODY = new SwarmKeys(PUBLIC_SWARM_KEY)

test('nothing is open to everybody before the first image is published, and after the last', async () => {
  await using net = await openTestnet()
  const node = await net.start('node')
  await importImage(node, 'local/one:1', [5000])
  await importImage(node, 'local/two:1', [5000])
  const before = openSockets()
  assert.equal((await statusOf(node)).published, null)
  await assert.rejects(access(join(node.dataDir, 'public')), { code: 'ENOENT' })

  const { publicNode, isFirst } = await publish(node, ['local/one:1', 'local/two:1'], { own: true })
  assert.ok(publicNode && isFirst)
  assert.deepEqual(openSockets(), { tcp: before.tcp + 1, udp: before.udp + 1 })
  const { published } = await statusOf(node)
  assert.deepEqual(published, { ...publicNode, images: 2, dhtNodes: 0 })
  assert.deepEqual(await publishedNames(node), ['one:1', 'two:1'])

  const first = await unpublish(node, ['local/one:1'])
  assert.deepEqual([first.failed, first.left], [[], 1])
  assert.deepEqual(openSockets(), { tcp: before.tcp + 1, udp: before.udp + 1 })
  const again = await unpublish(node, ['local/one:1', 'two:1'])
  assert.deepEqual(
    again.failed.map(({ error }) => error.code),
    ['NOT_PUBLISHED'],
  )
  assert.equal(again.left, 0)
  await until(() => isDeepStrictEqual(openSockets(), before))
  assert.equal((await statusOf(node)).published, null)
  assert.deepEqual(await publishedNames(node), [])
  await node.stop()
  const restarted = await net.start('node')
  assert.equal((await statusOf(restarted)).published, null)
})

test('what is published is so after a restart and without the catalog, and no more than that', async () => {
  await using dht = await openRecordedDht()
  await using net = await openTestnet()
  const config = { publicDiscovery: [`bootstrap:${dht.bootstrap}`] }
  const node = await net.start('node', config)
  const shown = await importImage(node, 'local/shown:1', [2 * MIB])
  const kept = await importImage(node, 'local/kept:1', [2 * MIB])
  const { publicNode, images } = await publish(node, ['local/shown:1'], { own: true })
  await node.stop()
  for (const isCatalogLost of [false, true]) {
    if (isCatalogLost) await rm(join(node.dataDir, 'catalog'), { recursive: true })
    const restarted = await net.start('node', config)
    const { published } = await statusOf(restarted)
    assert.equal(published?.nodeId, publicNode?.nodeId)
    assert.ok(published?.port)
    using client = new PeerClient(EVERYBODY)
    const peer = { host: '127.0.0.1', port: published.port }
    const held = await client.have(peer, [...digestsOf(shown), ...digestsOf(kept)])
    assert.deepEqual(new Set(held.map(({ digest }) => digest)), new Set(digestsOf(shown)))
    assert.equal((await client.references(peer, ['docker.io/library/shown:1'])).length, 1)
    for (const { infoHash } of images[0]?.blobs ?? []) {
      await until(() => dht.announced.get(infoHash)?.has(peer.port) === true)
      assert.equal(await answersHandshake(peer.port, infoHash), true)
    }
    await restarted.stop()
  }
})

test('an image that is removed from the node is withdrawn', async () => {
  await using net = await openTestnet()
  const node = await net.start('node')
  const content = new TestContent()
  const { digest } = content.image({ tag: '1' })
  const client = new ConformanceClient(`http://${node.node.ready.registry}`, 'local/app')
  await client.push(content)
  const { failed } = await publish(node, ['local/app:1'], { own: true })
  assert.deepEqual(failed, [])
  await client.deleteManifest(digest)
  await until(async () => (await statusOf(node)).published === null)
})

test('where the public port is taken nothing is published, and a node that publishes starts all the same', async () => {
  await using net = await openTestnet()
  await using taken = await openRecordedDht(1)
  const [, port] = taken.bootstrap.split(':')
  const publicPort = Number(port)
  let node = await net.start('node', { publicPort })
  await importImage(node, 'local/app:1', [5000])
  const refused = await publish(node, ['local/app:1'], { own: true })
  assert.deepEqual(
    refused.failed.map(({ error }) => error.code),
    ['PORT_IN_USE'],
  )
  assert.equal(refused.publicNode, undefined)
  assert.equal((await statusOf(node)).published, null)
  await node.stop()
  assert.equal((await statusOf((node = await net.start('node')))).published, null)
  await publish(node, ['local/app:1'], { own: true })
  await node.stop()

  node = await net.start('node', { publicPort })
  const { published } = await statusOf(node)
  assert.deepEqual([published?.images, published?.port], [1, undefined])
  assert.match(published?.problem ?? '', new RegExp(`${publicPort}`))
  const { left } = await unpublish(node, ['local/app:1'])
  assert.equal(left, 0)
})

for (const { what, path, content } of [
  { what: 'the key of the public side', path: 'public/keys/node.pem', content: 'no key' },
  { what: 'the list of what is published', path: 'public/images', content: '' },
  { what: 'the folder of published blobs', path: 'blobs/public', content: '' },
]) {
  test(`a node starts, shares nothing and says so where ${what} is damaged`, async () => {
    await using net = await openTestnet()
    let node = await net.start('node')
    const image = await importImage(node, 'local/app:1', [5000])
    await publish(node, ['local/app:1'], { own: true })
    await node.stop()
    await rm(join(node.dataDir, path), { recursive: true })
    await writeFile(join(node.dataDir, path), content)
    node = await net.start('node')
    const { published } = await statusOf(node)
    assert.equal(published?.port, undefined)
    if (published) assert.ok(published.problem)
    assert.equal((await node.get(`/v2/local/app/manifests/${image.manifest}`)).status, 200)
    assert.equal((await node.get('/')).status, 200)
  })
}
