/** A node of a closed swarm shares chosen images with everybody, and nothing else: real nodes, and a stand-in for mainline. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { access, readdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'

import { RendezvousKeys } from './membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY, type SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { digestOf, parseDigest } from './oci/digest.ts'
import { PeerClient } from './peering/peer-client.ts'
import { until } from './testing/dht-testnet.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { openLayoutRegistry } from './testing/layout-registry.ts'
import { digestsOf, importImage, publish, pull, unpublish } from './testing/publishing-node.ts'
import { openRecordedDht } from './testing/recorded-dht.ts'
import { openTestnet, writeLayout } from './testing/testnet.ts'
import { answersHandshake, handshake } from './testing/wire-fuzz.ts'
import { VERSION } from './version.ts'

const MIB = 1024 * 1024
const EVERYBODY = new SwarmKeys(PUBLIC_SWARM_KEY)
const NOBODY = digestOf('what nobody has')

test('everybody finds and gets what is published, and nothing else that the node holds', async () => {
  await using dht = await openRecordedDht()
  await using net = await openTestnet()
  const publicDiscovery = [`bootstrap:${dht.bootstrap}`]
  const node = await net.start('node', { publicDiscovery })
  const shown = await importImage(node, 'local/shown:1', [2 * MIB, 5000])
  const kept = await importImage(node, 'local/team/kept:1', [2 * MIB, 5000])
  const { publicNode, images } = await publish(node, ['local/shown:1'], { own: true })
  assert.ok(publicNode)

  // what the DHT is told: the published image, at the public port, and no key of the closed swarm
  const keys = new RendezvousKeys(EVERYBODY)
  const wanted = new Set<string>([
    keys.nodes,
    keys.image(shown.manifest),
    keys.reference('docker.io/library/shown:1'),
    ...(images[0]?.blobs.map(({ infoHash }) => infoHash) ?? []),
  ])
  assert.equal(wanted.size, 6)
  await until(() => wanted.isSubsetOf(new Set(dht.announced.keys())))
  assert.deepEqual(new Set(dht.announced.keys()), wanted)
  for (const ports of dht.announced.values()) assert.deepEqual([...ports], [publicNode.port])
  const closed = new RendezvousKeys(new SwarmKeys(Buffer.from(net.swarmKey, 'hex') as SwarmKey))
  const secret = [closed, keys].flatMap((each) => [
    ...[shown.manifest, kept.manifest].map((digest) => each.image(digest)),
    ...['docker.io/library/shown:1', 'docker.io/team/kept:1'].map((name) => each.reference(name)),
    each.nodes,
  ])
  assert.deepEqual(
    secret.filter((key) => dht.named.has(key) && !wanted.has(key)),
    [],
  )
  assert.deepEqual([...dht.sources], [publicNode.port])

  // by name, as another node does it
  const stranger = await net.start('stranger', { swarm: 'public', discovery: publicDiscovery })
  const pulled = await pull(stranger, 'local/shown:1')
  assert.equal(pulled.digest, shown.manifest)
  assert.equal(pulled.bytes.peers, pulled.size)
  await assert.rejects(pull(stranger, 'local/team/kept:1'), { code: 'IMAGE_UNKNOWN' })
  await assert.rejects(pull(stranger, `local/team/kept@${kept.manifest}`), {
    code: 'IMAGE_UNKNOWN',
  })

  // by every question that there is
  using client = new PeerClient(EVERYBODY)
  const peer = { host: '127.0.0.1', port: publicNode.port }
  const everything = [...digestsOf(shown), ...digestsOf(kept), NOBODY]
  const held = await client.have(peer, everything)
  assert.deepEqual(new Set(held.map(({ digest }) => digest)), new Set(digestsOf(shown)))
  for (const digest of [...digestsOf(kept), NOBODY]) {
    assert.equal(await client.metainfo(peer, digest), undefined)
    assert.equal(await client.blob(peer, digest), undefined)
  }
  for (const name of ['docker.io/team/kept:1', 'docker.io/library/nobody:1'])
    assert.deepEqual(await client.references(peer, [name]), [])
  const orders = client.warm(peer, {
    nodeId: publicNode.nodeId,
    references: ['local/team/kept:1'],
    load: false,
    parallel: 1,
  })
  assert.deepEqual(
    (await Array.fromAsync(orders)).map(({ state }) => state),
    ['failed'],
  )
  const torrents = await node.run(node.node.operations.torrent, {
    references: ['local/shown:1', 'local/team/kept:1'],
  })
  for (const { digest, infoHash } of torrents.torrents) {
    const isShown = digestsOf(shown).includes(parseDigest(digest))
    assert.equal(await answersHandshake(publicNode.port, infoHash), isShown, digest)
  }
  assert.equal(await answersHandshake(publicNode.port, 'ab'.repeat(20)), false)
})

test('the public side has an identity, a name and a port of its own, and neither side tells of the other', async () => {
  await using net = await openTestnet()
  const node = await net.start('secret-name')
  const shown = await importImage(node, 'local/shown:1', [5000])
  const { publicNode } = await publish(node, ['local/shown:1'], { own: true })
  assert.ok(publicNode)
  const { nodeId, peerPort } = node.node.ready
  using client = new PeerClient(EVERYBODY)
  const peer = { host: '127.0.0.1', port: publicNode.port }
  const self = { nodeId: 'cd'.repeat(32), nodeName: 'x', version: '1', peerPort: 1 }
  // where it was reached is the client's own note
  const { reachedAt: _, ...hello } = { reachedAt: '', ...(await client.hello(peer, self)) }
  const { port, ...identity } = publicNode
  assert.deepEqual(hello, { ...identity, version: VERSION, peerPort: port })
  assert.notEqual(hello.nodeId, nodeId)
  assert.notEqual(hello.peerPort, peerPort)
  const records = await client.references(peer, ['docker.io/library/shown:1'])
  const said = JSON.stringify([hello, records])
  for (const text of [nodeId, 'secret-name', net.swarmKey, node.node.ready.swarmId])
    assert.ok(!said.includes(text), text)
  assert.ok(said.includes(publicNode.nodeId) && said.includes(shown.manifest))

  // who met the public side is no member, and what it signs is no word in the closed swarm
  assert.deepEqual(await node.run(node.node.operations.peers, {}), { peers: [] })
  const files = await readdir(join(node.dataDir, 'records'))
  assert.ok(files.length > 0)
  for (const file of files) {
    const text = await readFile(join(node.dataDir, 'records', file), 'utf8')
    assert.ok(!text.includes(publicNode.nodeId))
  }
  // nor does the closed port say a word to who knows only the key of the public swarm
  await assert.rejects(client.hello({ host: '127.0.0.1', port: peerPort }, self), {
    code: 'NODE_UNREACHABLE',
  })
})

test('whoever is fetching what is unpublished is cut off', async () => {
  await using net = await openTestnet()
  const node = await net.start('node')
  await importImage(node, 'local/shown:1', [2 * MIB])
  const { publicNode, images } = await publish(node, ['local/shown:1'], { own: true })
  const layer = images[0]?.blobs.find(({ role }) => role === 'layer')
  assert.ok(publicNode && layer)
  await importImage(node, 'local/other:1', [5000])
  await publish(node, ['local/other:1'], { own: true })
  const socket = connect({ host: '127.0.0.1', port: publicNode.port })
  socket.on('error', () => {})
  socket.write(handshake(layer.infoHash))
  const signal = AbortSignal.timeout(10_000)
  const cutOff = once(socket, 'close', { signal })
  await once(socket, 'data', { signal })
  await unpublish(node, ['local/shown:1'])
  await cutOff
  assert.equal(await answersHandshake(publicNode.port, layer.infoHash), false)
})

test('an image of a registry is pulled by its own name, by engines too, while the registry is away', async () => {
  await using dht = await openRecordedDht()
  await using net = await openTestnet()
  const discovery = [`bootstrap:${dht.bootstrap}`]
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB, 5000])
  const ns = await (async () => {
    await using registry = await openLayoutRegistry()
    await registry.add('team/app', image)
    const config = { upstream: true, insecureUpstreams: [registry.address] }
    const node = await net.start('node', { ...config, publicDiscovery: discovery })
    await pull(node, `${registry.address}/team/app:1`)
    const { failed } = await publish(node, [`${registry.address}/team/app:1`])
    assert.deepEqual(failed, [])
    return registry.address
  })()
  const stranger = await net.start('stranger', { swarm: 'public', discovery })
  const { digest, bytes, size } = await pull(stranger, `${ns}/team/app:1`)
  assert.deepEqual([digest, bytes.peers], [image.manifest, size])
  const engine = await net.start('engine', { swarm: 'public', discovery })
  const answers = await pullLikeEngine({
    door: engine.node.ready.registry,
    repository: 'team/app',
    ns,
  })
  assert.ok(isPulled(answers), summaryOf(answers))
})

test('uploads to everybody obey the upload limit', async () => {
  await using dht = await openRecordedDht()
  await using net = await openTestnet()
  const discovery = [`bootstrap:${dht.bootstrap}`]
  const uploadBytesPerSecond = 2 * MIB
  const node = await net.start('node', { publicDiscovery: discovery, uploadBytesPerSecond })
  const size = 2 * MIB
  await importImage(node, 'local/app:1', [size])
  await publish(node, ['local/app:1'], { own: true })
  const stranger = await net.start('stranger', { swarm: 'public', discovery })
  const startedAtMs = performance.now()
  await pull(stranger, 'local/app:1')
  const seconds = (performance.now() - startedAtMs) / 1000
  // a part of it: the others are for the closed swarm, and for what does not go out by wires
  assert.ok(size / seconds < 0.6 * uploadBytesPerSecond, `${size / seconds} bytes a second`)
})

test('small blobs, which go out by no wire, obey the upload limit too', async () => {
  await using net = await openTestnet()
  const uploadBytesPerSecond = 8 * MIB
  const node = await net.start('node', { uploadBytesPerSecond })
  const image = await importImage(node, 'local/app:1', [MIB / 2, MIB / 2 - 1, MIB / 2 - 2])
  const { publicNode } = await publish(node, ['local/app:1'], { own: true })
  assert.ok(publicNode)
  using client = new PeerClient(EVERYBODY)
  const peer = { host: '127.0.0.1', port: publicNode.port }
  const startedAtMs = performance.now()
  let bytes = 0
  for (const { digest } of image.layers) {
    for await (const chunk of (await client.blob(peer, digest)) ?? []) bytes += chunk.length
  }
  const seconds = (performance.now() - startedAtMs) / 1000
  assert.equal(bytes, 3 * (MIB / 2 - 1))
  // the last of them is owed for
  assert.ok(seconds > 0.6, `${seconds} s`)
})

test('a node of the public swarm says that everything is public, and what leads there', async () => {
  await using net = await openTestnet()
  const node = await net.start('node', { swarm: 'public' })
  await importImage(node, 'local/app:1', [5000])
  const { swarm, images, publicNode } = await publish(node, ['local/app:1'])
  assert.equal(swarm, 'public')
  assert.equal(images[0]?.blobs.length, 2)
  assert.equal(publicNode?.nodeId, node.node.ready.nodeId)
  await assert.rejects(unpublish(node, ['local/app:1']), { code: 'NOT_PUBLISHED' })
  await assert.rejects(access(join(node.dataDir, 'public')), { code: 'ENOENT' })
})

test('where the node is reached stands in a link only if it is said', async () => {
  await using net = await openTestnet()
  const node = await net.start('node')
  await importImage(node, 'local/app:1', [5000])
  const linksWith = async (address?: string) => {
    const options = { own: true, ...(address !== undefined && { address }) }
    const { images, publicNode } = await publish(node, ['local/app:1'], options)
    const links = images.flatMap(({ blobs }) => blobs.map(({ magnet }) => magnet))
    const ends = links.map((link) => /(?:&x\.pe=(.*))?$/.exec(link)?.[1])
    return { ends: new Set(ends), port: publicNode?.port }
  }
  assert.deepEqual((await linksWith()).ends, new Set([undefined]))
  assert.deepEqual((await linksWith('a.example:7')).ends, new Set(['a.example:7']))
  const { ends, port } = await linksWith('[2001:db8::1]')
  assert.deepEqual(ends, new Set([`[2001:db8::1]:${port}`]))
  await assert.rejects(linksWith('a b&tr=x'), { code: 'USAGE' })
})
