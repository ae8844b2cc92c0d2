import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { test } from 'node:test'

import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY, type SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { CombinedDiscovery } from './combined-discovery.ts'
import {
  collect,
  testKey,
  Testnet,
  testSwarmKey,
  testSwarmKeys,
  until,
} from '../testing/dht-testnet.ts'
import { PlainMainline } from '../testing/plain-mainline.ts'
import { formatPeerAddress, type Discovery } from './discovery.ts'
import { parseDiscovery } from './discovery-setting.ts'
import { LanDiscovery } from './lan-discovery.ts'
import { daysToRead, meetingPlaceOf } from './meeting-place.ts'
import { contactsOf, openDiscovery } from './open-discovery.ts'
import { MAINLINE_ROUTERS, onOtherKeys, routersOf } from './open-mainline.ts'
import { StaticDiscovery } from './static-discovery.ts'

const swarmKeys = testSwarmKeys('open-discovery')
const nodesKey = new RendezvousKeys(swarmKeys).nodes
const key = testKey('image')

interface Settings {
  list: string
  port: number
  stateDir: string
  swarmKeys?: SwarmKeys
  nodeId?: string
}

async function open({ list, port, stateDir, ...others }: Settings): Promise<Discovery> {
  return await openDiscovery({
    swarmKeys,
    nodeId: 'ab'.repeat(32),
    ...others,
    isPublic: false,
    settings: parseDiscovery(list),
    host: '127.0.0.1',
    port,
    stateDir,
  })
}

/** A UDP port that was free a moment ago: here the number has to be known beforehand, as the peer port is. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}

test('nodes meet through a bootstrap node that asks nobody itself', async () => {
  await using dir = await tempDir()
  const port = await freePort()
  await using first = await open({ list: 'none', port, stateDir: `${dir.path}/1` })
  const list = `bootstrap:localhost:${port}`
  await using second = await open({ list, port: 0, stateDir: `${dir.path}/2` })
  first.announce(key)
  assert.deepEqual(await collect(second, key), [{ host: '127.0.0.1', port }])
  assert.deepEqual(first.stats(), { dhtNodes: 1, announcedKeys: 1, refusedDatagrams: 0 })
})

test('while a swarm changes its key, a node of the new one meets a node that was told of it', async () => {
  await using dir = await tempDir()
  const port = await freePort()
  const shared = { list: 'none', port, stateDir: `${dir.path}/1` }
  await using told = await open({ ...shared, swarmKeys: testSwarmKeys('open-discovery', 'next') })
  const list = `bootstrap:localhost:${port}`
  const keys = { swarmKeys: testSwarmKeys('next', 'open-discovery') }
  await using changed = await open({ list, port: 0, stateDir: `${dir.path}/2`, ...keys })
  told.announce(key)
  assert.deepEqual(await collect(changed, key), [{ host: '127.0.0.1', port }])
})

test('members that know nothing of each other meet on mainline, where strangers see nothing of it', async () => {
  await using dir = await tempDir()
  await using mainline = await PlainMainline.open({ nodeCount: 20 })
  const list = `mainline:${formatPeerAddress(mainline.router)}`
  const [port, otherPort] = [await freePort(), await freePort()]
  await using first = await open({ list, port, stateDir: `${dir.path}/1`, nodeId: '1'.repeat(64) })
  first.announce(key)
  await until(() => first.stats().mainline?.isListed === true)
  await using second = await open({
    list,
    port: otherPort,
    stateDir: `${dir.path}/2`,
    nodeId: '2'.repeat(64),
  })
  // Whoever asks for the members right at the start is told as soon as mainline has answered.
  const [found] = await collect(second, nodesKey, { limit: 1 })
  assert.deepEqual(found, { host: '127.0.0.1', port })
  await until(() => second.stats().dhtNodes === 1)
  assert.deepEqual(await collect(second, key), [{ host: '127.0.0.1', port }])
  await until(() => second.stats().mainline?.members === 1)

  await using stranger = await open({
    list,
    port: 0,
    stateDir: `${dir.path}/3`,
    swarmKeys: testSwarmKeys('stranger'),
    nodeId: '3'.repeat(64),
  })
  await until(() => stranger.stats().mainline?.isListed === true)
  assert.equal(stranger.stats().mainline?.members, 0)
  assert.ok(new Set(mainline.kept().map(({ v }) => v.length)).size === 1)
  // They are there on ports of their own, and answer nobody.
  assert.deepEqual([...mainline.askers().values()], ['reader', 'reader', 'reader'])
  for (const each of [port, otherPort]) {
    assert.ok(!mainline.askers().has(formatPeerAddress({ host: '127.0.0.1', port: each })))
  }
})

test('with another key a member moves to another item at once, but not for every member that is met', async () => {
  await using dir = await tempDir()
  await using mainline = await PlainMainline.open({ nodeCount: 12 })
  const list = `mainline:${formatPeerAddress(mainline.router)}`
  const [old, next] = [testSwarmKey('old'), testSwarmKey('next')]
  const changing = new SwarmKeys(old)
  let changeCount = 0
  onOtherKeys(changing, () => (changeCount += 1))
  const options = { list, port: 0, swarmKeys: changing, stateDir: dir.path }
  await using member = await open(options)
  await until(() => member.stats().mainline?.isListed === true)
  const isKept = (swarmKey: SwarmKey) =>
    daysToRead(swarmKey, Date.now())
      .map((day) => meetingPlaceOf(swarmKey, day).target.toString('hex'))
      .some((target) => mainline.kept().some((item) => item.target === target))
  assert.deepEqual([isKept(old), isKept(next)], [true, false])
  changing.set({ ...changing.state, metAtMs: new Map([['ab', 1]]) })
  assert.equal(changeCount, 0)
  changing.set({ ...changing.state, current: next, accepted: [next, old] })
  assert.equal(changeCount, 1)
  await until(() => isKept(next))
})

test('without mainline in the settings, and with a stand-in that is not there, nobody is asked or waited for', async () => {
  await using dir = await tempDir()
  await using none = await open({ list: 'none', port: 0, stateDir: `${dir.path}/1` })
  assert.equal(none.stats().mainline, undefined)
  const list = `mainline:127.0.0.1:${await freePort()}`
  await using away = await open({ list, port: 0, stateDir: `${dir.path}/2` })
  assert.deepEqual(away.stats().mainline, { nodes: 0, members: 0, isListed: false })
  assert.deepEqual(await collect(away, key), [])
})

test('static peers come up at every key, once, also when the DHT finds them as well', async () => {
  await using dir = await tempDir()
  const port = await freePort()
  await using first = await open({ list: 'none', port, stateDir: `${dir.path}/1` })
  const list = `static:127.0.0.1:${port},static:10.99.0.1:7000`
  await using second = await open({ list, port: 0, stateDir: `${dir.path}/2` })
  first.announce(key)
  await until(() => second.stats().dhtNodes === 1)
  const wanted = [
    { host: '127.0.0.1', port },
    { host: '10.99.0.1', port: 7000 },
  ]
  assert.deepEqual(await collect(second, key), wanted)
  assert.deepEqual(await collect(second, testKey('unknown')), wanted)
  assert.deepEqual(await collect(second, key, { limit: 1 }), wanted.slice(0, 1))
})

test('the addresses of a name are peers, and nodes to start from', async () => {
  await using dir = await tempDir()
  const port = await freePort()
  await using first = await open({ list: 'none', port, stateDir: `${dir.path}/1` })
  const list = `dns:localhost:${port}`
  await using second = await open({ list, port: 0, stateDir: `${dir.path}/2` })
  first.announce(key)
  await until(() => second.stats().dhtNodes === 1)
  const found = await collect(second, key)
  assert.ok(found.some(({ host }) => host === '127.0.0.1'))
  assert.ok(found.every((address) => address.port === port))
})

test('a reader that leaves early, and a closed discovery, leave nothing running', async () => {
  await using dir = await tempDir()
  const discovery = await open({ list: 'static:127.0.0.1:9', port: 0, stateDir: dir.path })
  for await (const _ of discovery.findPeers(key)) break
  await discovery[Symbol.asyncDispose]()
  await discovery[Symbol.asyncDispose]()
  assert.deepEqual(await collect(discovery, key), [])
})

test('the DHT of the swarm starts from public routers only in the open swarm', () => {
  const all = parseDiscovery('lan,mainline,bootstrap:a:1,static:b:2,dns:c:3')
  const named = [
    { host: 'a', port: 1 },
    { host: 'b', port: 2 },
    { host: 'c', port: 3 },
  ]
  assert.deepEqual(contactsOf(all, { isPublic: false }), named)
  assert.deepEqual(contactsOf(all, { isPublic: true }), [...MAINLINE_ROUTERS, ...named])
  const rest = parseDiscovery('lan,bootstrap:a:1,static:b:2,dns:c:3')
  assert.deepEqual(contactsOf(rest, { isPublic: true }), named)
  const own = parseDiscovery('mainline:d:4')
  assert.deepEqual(contactsOf(own, { isPublic: true }), [{ host: 'd', port: 4 }])
  assert.deepEqual(contactsOf(own, { isPublic: false }), [])
  assert.deepEqual(routersOf(parseDiscovery('mainline:d:4,lan,mainline')), [
    { host: 'd', port: 4 },
    ...MAINLINE_ROUTERS,
  ])
  assert.deepEqual(contactsOf(parseDiscovery('none'), { isPublic: true }), [])
})

test('a port that is in use is said to be', async () => {
  await using dir = await tempDir()
  const port = await freePort()
  await using _ = await open({ list: 'none', port, stateDir: `${dir.path}/1` })
  await assert.rejects(open({ list: 'none', port, stateDir: `${dir.path}/2` }), {
    code: 'PORT_IN_USE',
  })
})

test('the open swarm on an own network asks nobody else', async () => {
  await using dir = await tempDir()
  await using discovery = await openDiscovery({
    swarmKeys: new SwarmKeys(PUBLIC_SWARM_KEY),
    isPublic: true,
    settings: parseDiscovery('none'),
    host: '127.0.0.1',
    port: 0,
    stateDir: dir.path,
    nodeId: 'ab'.repeat(32),
  })
  assert.deepEqual(await collect(discovery, key), [])
  assert.equal(discovery.stats().dhtNodes, 0)
})

test('nodes that were heard on the LAN come up at the key of the nodes', async () => {
  await using net = await Testnet.open(1)
  const nodesKey = testKey('nodes')
  const shared = { nodesKey, interfaces: ['127.0.0.1'], onNode: () => {} }
  await using lan = await LanDiscovery.open({ ...shared, peerPort: 1, groupPort: 0 })
  const { groupPort } = lan
  await using neighbour = await LanDiscovery.open({ ...shared, peerPort: 2, groupPort })
  await until(() => lan.peersAt(nodesKey).length === 1)
  const named = new StaticDiscovery({})
  await using combined = new CombinedDiscovery({ dht: net.at(0), named, lan }, neighbour)
  assert.deepEqual(await collect(combined, nodesKey), [{ host: '127.0.0.1', port: 2 }])
  assert.deepEqual(await collect(combined, key), [])
})
