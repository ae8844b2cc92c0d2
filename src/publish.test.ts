/** A node of a closed swarm shares chosen images with everybody, and nothing else: real nodes, and a stand-in for mainline. */
import assert from 'node:assert/strict'
import { access, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'

import type { PublishRequest, PublishResult } from './control/control-protocol.ts'
import { RendezvousKeys } from './membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY, type SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { digestOf, hexOf, parseDigest, type Digest } from './oci/digest.ts'
import { PeerClient } from './peering/peer-client.ts'
import type { ImageStatus, NodeStatus } from './status/node-status.ts'
import { makeCanary } from './testing/canaries.ts'
import { ConformanceClient } from './testing/conformance-client.ts'
import { TestContent } from './testing/conformance-data.ts'
import { until } from './testing/dht-testnet.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { openLayoutRegistry, type RegistryGuard } from './testing/layout-registry.ts'
import { openRecordedDht } from './testing/recorded-dht.ts'
import { basicGuard } from './testing/registry-guards.ts'
import { openTestnet, writeLayout, type LayoutFixture, type TestNode } from './testing/testnet.ts'
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

test('what a name means is for this node to say when it is published, not for another member', async () => {
  await using net = await openTestnet()
  const node = await net.start('node')
  const mate = await net.start('mate')
  const own = await importImage(node, 'local/app:1', [5000])
  const other = await writeLayout(join(net.dir, 'other'), [6000])
  await node.run(node.node.operations.import, { path: other.path, name: 'local/secret:1' })
  await mate.run(mate.node.operations.import, { path: other.path, name: 'local/app:1' })
  // the newer record is known here, and what it names is held here
  assert.equal((await pull(node, 'local/app:1')).digest, other.manifest)
  const { images } = await publish(node, ['local/app:1'], { own: true })
  assert.deepEqual(
    images.map(({ digest }) => digest),
    [own.manifest],
  )
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

test('without --own only what its registry gives to everybody is published', async () => {
  await using net = await openTestnet()
  const login = makeCanary('config')
  let guard: RegistryGuard = () => false
  await using registry = await openLayoutRegistry({ guard: (...asked) => guard(...asked) })
  const open = await writeLayout(join(net.dir, 'open'), [2 * MIB])
  const secret = await writeLayout(join(net.dir, 'secret'), [5000])
  await registry.add('team/open', open)
  await registry.add('team/secret', secret)
  const isSecret: RegistryGuard = (request, response) =>
    (request.url ?? '').includes('/secret/') && basicGuard(login)(request, response)
  guard = isSecret
  const dockerConfigFile = join(net.dir, 'config.json')
  const auth = login.basic.slice('Basic '.length)
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.address]: { auth } } }))
  const config = { upstream: true, insecureUpstreams: [registry.address], dockerConfigFile }
  let node = await net.start('node', config)
  for (const repository of ['team/open', 'team/secret']) {
    const door = node.node.ready.registry
    const answers = await pullLikeEngine({ door, repository, ns: registry.address })
    assert.ok(isPulled(answers), summaryOf(answers))
  }
  await importImage(node, 'local/mine:1', [5000])
  await importImage(node, `${registry.address}/team/unknown:1`, [5000])

  const asked = registry.requests.length
  const name = (repository: string) => `${registry.address}/team/${repository}`
  const { images, failed } = await publish(node, [`${name('open')}:1`])
  assert.deepEqual(failed, [])
  assert.equal(images[0]?.digest, open.manifest)
  const questions = registry.requests.slice(asked)
  assert.deepEqual(new Set(questions.map(({ method }) => method)), new Set(['HEAD']))
  assert.equal(questions.length, digestsOf(open).length)
  assert.ok(questions.every(({ authorization }) => authorization === undefined))

  const secretByDigest = `${name('secret')}@${secret.manifest}`
  const refused = ['local/mine:1', `${name('unknown')}:1`, `${name('secret')}:1`, secretByDigest]
  const codes = async () => (await publish(node, refused)).failed.map(({ error }) => error.code)
  const all = refused.map(() => 'PUBLICATION_REFUSED')
  assert.deepEqual(await codes(), all)
  await node.stop()
  node = await net.start('node', config)
  assert.deepEqual(await codes(), all)

  // manifests to everybody, blobs for a login: not for everybody either
  guard = (request, response) =>
    (request.url ?? '').includes('/blobs/') && basicGuard(login)(request, response)
  assert.deepEqual(
    (await publish(node, [`${name('open')}@${open.manifest}`])).failed.map(
      ({ error }) => error.code,
    ),
    ['PUBLICATION_REFUSED'],
  )
  guard = (_, response) => (response.writeHead(503).end(), true)
  assert.deepEqual(
    (await publish(node, [`${name('open')}:1`])).failed.map(({ error }) => error.code),
    ['PUBLICATION_UNPROVEN'],
  )
  guard = isSecret
  const own = await publish(node, [secretByDigest, 'local/mine:1'], { own: true })
  assert.deepEqual(own.failed, [])
  assert.equal((await statusOf(node)).published?.images, 3)
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

test('what a login is needed for meanwhile is withdrawn', async () => {
  await using net = await openTestnet()
  const login = makeCanary('config')
  let guard: RegistryGuard = () => false
  await using registry = await openLayoutRegistry({ guard: (...asked) => guard(...asked) })
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB])
  await registry.add('team/app', image)
  const dockerConfigFile = join(net.dir, 'config.json')
  const auth = login.basic.slice('Basic '.length)
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.address]: { auth } } }))
  const config = {
    upstream: true,
    insecureUpstreams: [registry.address],
    dockerConfigFile,
    tagFreshness: [{ pattern: '*', ms: 0 }],
  }
  const node = await net.start('node', config)
  const pulls = { door: node.node.ready.registry, repository: 'team/app', ns: registry.address }
  assert.ok(isPulled(await pullLikeEngine(pulls)))
  const { publicNode, failed } = await publish(node, [`${registry.address}/team/app:1`])
  assert.deepEqual(failed, [])
  assert.ok(publicNode)

  guard = basicGuard(login)
  assert.ok(isPulled(await pullLikeEngine(pulls)))
  await until(async () => (await statusOf(node)).published === null)
  assert.deepEqual(await publishedNames(node), [])
  await until(async () => !(await isListening(publicNode.port)))
  await node.stop()
  assert.equal((await statusOf(await net.start('node', config))).published, null)
})

test('what its registry gives to everybody no more is withdrawn within a day, what it does not speak of stays', async () => {
  await using net = await openTestnet()
  let guard: RegistryGuard = () => false
  await using registry = await openLayoutRegistry({ guard: (...asked) => guard(...asked) })
  const image = await writeLayout(join(net.dir, 'image'), [5000])
  await registry.add('team/app', image)
  const config = { upstream: true, insecureUpstreams: [registry.address] }
  let node = await net.start('node', config)
  await pull(node, `${registry.address}/team/app:1`)
  await publish(node, [`${registry.address}/team/app:1`])
  await importImage(node, 'local/mine:1', [5000])
  await publish(node, ['local/mine:1'], { own: true })
  const file = join(node.dataDir, 'public/images', `${hexOf(image.manifest)}.json`)
  const checkedAtMs = async () =>
    (JSON.parse(await readFile(file, 'utf8')) as { checkedAtMs: number }).checkedAtMs
  const startAfter = async (days: number) => {
    await node.stop()
    const text = await readFile(file, 'utf8')
    const then = Date.now() - days * 24 * 3600e3
    await writeFile(file, text.replace(/"checkedAtMs":\d+/, `"checkedAtMs":${Math.round(then)}`))
    const asked = registry.requests.length
    node = await net.start('node', config)
    return asked
  }

  const asked = await startAfter(1.01)
  await until(async () => Date.now() - (await checkedAtMs()) < 60_000)
  const questions = registry.requests.slice(asked)
  assert.equal(questions.length, digestsOf(image).length)
  assert.ok(questions.every(({ method, authorization }) => method === 'HEAD' && !authorization))

  guard = (_, response) => (response.writeHead(503).end(), true)
  const away = await startAfter(1.01)
  await until(() => registry.requests.length > away)
  assert.equal((await statusOf(node)).published?.images, 2)
  guard = basicGuard(makeCanary('config'))
  await startAfter(0.99)
  assert.equal((await statusOf(node)).published?.images, 2)
  await startAfter(1.01)
  await until(async () => (await statusOf(node)).published?.images === 1)
  assert.deepEqual(await publishedNames(node), ['mine:1'])
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

async function importImage(
  node: TestNode,
  name: string,
  sizes: readonly number[],
): Promise<LayoutFixture> {
  const image = await writeLayout(join(node.dataDir, `../${name.replaceAll(/\W/g, '-')}`), sizes)
  await node.run(node.node.operations.import, { path: image.path, name })
  return image
}

async function publish(
  node: TestNode,
  references: readonly string[],
  options: Partial<PublishRequest> = {},
): Promise<PublishResult> {
  const request = { references, own: false, metainfo: false, ...options }
  return await node.run(node.node.operations.publish, request)
}

async function unpublish(node: TestNode, references: readonly string[]) {
  return await node.run(node.node.operations.unpublish, { references })
}

async function pull(node: TestNode, reference: string) {
  return await node.run(node.node.operations.pull, { reference, load: false })
}

async function statusOf(node: TestNode): Promise<NodeStatus> {
  return (await node.run(node.node.operations.status, {})) as NodeStatus
}

async function publishedNames(node: TestNode): Promise<(string | undefined)[]> {
  const { images } = await node.run(node.node.operations.list, {})
  return (images as ImageStatus[]).filter(({ published }) => published).map(({ name }) => name)
}

function digestsOf({ manifest, config, layers }: LayoutFixture): Digest[] {
  return [manifest, config, ...layers.map(({ digest }) => digest)]
}

/** Sockets of this process that wait for others. */
function openSockets(): { tcp: number; udp: number } {
  const all = process.getActiveResourcesInfo()
  const countOf = (kind: string) => all.filter((each) => each === kind).length
  return { tcp: countOf('TCPServerWrap'), udp: countOf('UDPWrap') }
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  const outcome = await Promise.race([
    once(socket, 'connect').then(
      () => true,
      () => false,
    ),
    once(socket, 'close').then(() => false),
  ])
  socket.destroy()
  return outcome
}
