import assert from 'node:assert/strict'
import { test } from 'node:test'

import DHT from 'bittorrent-dht'

import { silentLog, type Log } from '../telemetry/log.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { bencoded } from '../testing/bencoded.ts'
import { DhtDiscovery } from './dht-discovery.ts'
import { decodeDatagram } from './krpc-bencode.ts'
import {
  addressOf,
  collect,
  testKey,
  Testnet,
  testSwarmKey,
  testSwarmKeys,
  until,
} from '../testing/dht-testnet.ts'
import { testDiscovery } from '../testing/discovery.conformance.ts'
import { MemberClient } from '../testing/datagram-fuzz.conformance.ts'
import { KrpcClient } from '../testing/krpc-client.ts'
import { SavedNodes } from './saved-nodes.ts'

for (const isPublic of [false, true]) {
  testDiscovery(isPublic ? 'open DHT' : 'closed DHT', async (count) => {
    const net = await Testnet.open(count, { isPublic, tuning: { announcesPerSecond: 1000 } })
    await net.met()
    return {
      nodes: net.nodes.map((discovery) => ({ discovery, address: addressOf(discovery) })),
      settled: () => net.settled(),
      [Symbol.asyncDispose]: () => net[Symbol.asyncDispose](),
    }
  })
}

const key = testKey('image')
const RATE = { perSecond: 1e6, burst: 1e6 }
const UNLIMITED = { strangerRate: RATE, knownRate: RATE, totalRate: RATE }

test('the first of 5 nodes finds a key in well under a second, with 3 dead nodes in its table', async () => {
  await using net = await Testnet.open(8)
  await net.met()
  // Stopped without a word, as by a power cut: the others still list them.
  for (const index of [4, 5, 6]) await net.at(index)[Symbol.asyncDispose]()
  assert.equal(net.at(0).stats().dhtNodes, 7)
  // Waits for the dead itself: the first node is not told, it has to ask.
  net.at(7).announce(key)
  const startMs = performance.now()
  assert.deepEqual(await collect(net.at(0), key, { limit: 1 }), [addressOf(net.at(7))])
  assert.ok(performance.now() - startMs < 300, `${performance.now() - startMs} ms`)
})

for (const [isPublic, count] of [
  [false, 18],
  [true, 8],
] as const) {
  const swarm = isPublic ? 'the open swarm' : 'a closed swarm'
  test(`in ${swarm} a lookup does not wait for the dead, though all but one are, and others do`, async () => {
    // What is lost is given up only after the whole test.
    const tuning = { ...UNLIMITED, timeoutMs: 20_000 }
    await using net = await Testnet.open(count, { isPublic, tuning })
    await net.met()
    const [first, last] = [net.at(0), net.at(count - 1)]
    await using client = isPublic
      ? await KrpcClient.open()
      : await MemberClient.open(testSwarmKey('testnet'))
    const tell = { info_hash: Buffer.from(key, 'hex'), port: 4711 }
    const { r } = await client.ask(addressOf(last), { q: 'get_peers', a: tell })
    const a = { ...tell, token: r.get('token') }
    await client.ask(addressOf(last), { q: 'announce_peer', a })
    const dead = net.nodes.slice(1, -1)
    await Promise.all(dead.map((node) => node[Symbol.asyncDispose]()))
    assert.ok(first.stats().dhtNodes >= count - 1)
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) first.announce(testKey(name))
    const stopping = new AbortController()
    const others = Array.from({ length: 15 }, (_, index) =>
      collect(first, testKey(`other ${index}`), stopping),
    )
    const startMs = performance.now()
    const found = await collect(first, key, { limit: 1 })
    assert.deepEqual(found, [{ host: '127.0.0.1', port: 4711 }])
    assert.ok(performance.now() - startMs < 1000, `${performance.now() - startMs} ms`)
    stopping.abort()
    await Promise.all(others)
  })
}

test('a node that starts before its contact finds it once it is there', async () => {
  await using net = new Testnet()
  const { node: later, address } = await net.add()
  await later[Symbol.asyncDispose]()
  const { node: early } = await net.add([address])
  early.announce(key)
  await using late = await DhtDiscovery.open({
    swarmKeys: testSwarmKeys('testnet'),
    isPublic: false,
    ...address,
  })
  await until(() => late.stats().dhtNodes === 1 && early.stats().dhtNodes === 1)
  assert.deepEqual(await collect(late, key), [addressOf(early)])
})

test('a node that names itself as contact is alone, and found by others', async () => {
  await using net = new Testnet()
  const { node: free, address } = await net.add()
  await free[Symbol.asyncDispose]()
  const swarmKeys = testSwarmKeys('testnet')
  await using first = await DhtDiscovery.open({
    swarmKeys,
    isPublic: false,
    ...address,
    contacts: [address],
  })
  first.announce(key)
  await collect(first, testKey('waits for the contact'))
  assert.equal(first.stats().dhtNodes, 0)
  const { node: second } = await net.add([address])
  assert.deepEqual(await collect(second, key), [address])
})

test('a key that was announced to nobody is announced to the first who comes', async () => {
  await using net = await Testnet.open(1, { isPublic: true })
  net.at(0).announce(key)
  await net.add([addressOf(net.at(0))])
  await net.add([addressOf(net.at(0))])
  await until(async () => (await collect(net.at(2), key)).length === 1)
})

test('a node that is asked says so itself, before its announce has arrived anywhere', async () => {
  await using net = await Testnet.open(2)
  await net.met()
  net.at(0).announce(key)
  assert.deepEqual(await collect(net.at(1), key, { limit: 1 }), [addressOf(net.at(0))])
})

test('a node that comes back with another id takes the place of the old one', async () => {
  await using net = await Testnet.open(3)
  await net.met()
  const { port } = net.at(2)
  await net.at(2)[Symbol.asyncDispose]()
  await using again = await DhtDiscovery.open({
    swarmKeys: testSwarmKeys('testnet'),
    isPublic: false,
    host: '127.0.0.1',
    port,
    contacts: [addressOf(net.at(0))],
  })
  await until(() => again.stats().dhtNodes === 2)
  assert.deepEqual(
    [0, 1].map((index) => net.at(index).stats().dhtNodes),
    [2, 2],
  )
})

test('an early end of a lookup does not keep a later announce from all the nodes', async () => {
  // One question at a time: the lookup has asked one node when it ends.
  await using net = await Testnet.open(6, { isPublic: true, tuning: { concurrency: 1 } })
  await net.met()
  net.at(1).announce(key)
  await net.settled()
  await collect(net.at(0), key, { limit: 1 })
  // By the end of this one, that one has come to its end as well.
  await collect(net.at(0), testKey('other'))
  net.at(0).announce(key)
  await net.settled()
  for (const node of net.nodes.slice(1)) assert.ok(await isTold(node, net.at(0)))
})

test('a node that joins a small swarm is told of every key', async () => {
  await using net = await Testnet.open(3, { isPublic: true, tuning: UNLIMITED })
  await net.met()
  net.at(0).announce(key)
  await net.settled()
  const { node: newcomer } = await net.add([addressOf(net.at(1))])
  await until(() => isTold(newcomer, net.at(0)))
})

test('nobody is told anything while nobody is there', async () => {
  const lines: unknown[] = []
  const log: Log = {
    ...silentLog,
    child: () => log,
    debug: (...line: unknown[]) => lines.push(line),
  }
  await using net = await Testnet.open(1, { log })
  net.at(0).announce(key)
  await collect(net.at(0), testKey('other'))
  assert.deepEqual(lines, [])
})

test('an answer to no question is refused, and brings nobody into the table', async () => {
  await using net = await Testnet.open(1, { isPublic: true })
  await using client = await KrpcClient.open()
  const answer = bencoded({ t: 'aa', y: 'r', r: { id: Buffer.alloc(20, 9) } })
  await client.send(answer, addressOf(net.at(0)))
  await until(() => net.at(0).stats().refusedDatagrams === 1)
  assert.equal(net.at(0).stats().dhtNodes, 0)
})

test('saves its nodes, and finds back through them without a contact', async () => {
  await using dir = await tempDir()
  await using net = await Testnet.open(2)
  const options = {
    swarmKeys: testSwarmKeys('testnet'),
    isPublic: false,
    host: '127.0.0.1',
    port: 0,
    savedNodes: new SavedNodes({ stateDir: dir.path, swarmKeys: testSwarmKeys('testnet') }),
  }
  const first = await DhtDiscovery.open({ ...options, contacts: [addressOf(net.at(0))] })
  await until(() => first.stats().dhtNodes === 2)
  await first[Symbol.asyncDispose]()
  await using second = await DhtDiscovery.open(options)
  await until(() => second.stats().dhtNodes === 2)
})

test('two closed swarms, and a plain client, see nothing of each other', async () => {
  await using ours = await Testnet.open(2, { swarmKey: testSwarmKey('ours') })
  await ours.met()
  const contacts = [addressOf(ours.at(0)), addressOf(ours.at(1))]
  await using theirs = new Testnet({ swarmKey: testSwarmKey('theirs') })
  await using plain = new Testnet({ isPublic: true })
  const strangers = [(await theirs.add(contacts)).node, (await plain.add(contacts)).node]
  for (const node of [...strangers, ...ours.nodes]) node.announce(key)
  await ours.settled()

  for (const stranger of strangers) {
    assert.deepEqual(await collect(stranger, key), [addressOf(stranger)])
    assert.equal(stranger.stats().dhtNodes, 0)
  }
  assert.deepEqual(
    new Set((await collect(ours.at(0), key)).map(({ port }) => port)),
    new Set(ours.nodes.map(({ port }) => port)),
  )
  assert.equal(ours.at(0).stats().dhtNodes, 1)
  assert.ok(ours.at(0).stats().refusedDatagrams >= 2)
})

test('while a swarm changes its key, nodes with both find those with either', async () => {
  const options = { isPublic: false, host: '127.0.0.1', port: 0 }
  // Who is told first goes on to speak as before, and understands the new key already.
  await using told = await DhtDiscovery.open({
    ...options,
    swarmKeys: testSwarmKeys('old', 'next'),
  })
  const contacts = [addressOf(told)]
  await using changed = await DhtDiscovery.open({
    ...options,
    swarmKeys: testSwarmKeys('next', 'old'),
    contacts,
  })
  changed.announce(key)
  await until(() => told.stats().dhtNodes === 1 && changed.stats().dhtNodes === 1)
  assert.deepEqual(await collect(told, key), [addressOf(changed)])
  // Who was not told any more hears nothing of it.
  await using ended = await DhtDiscovery.open({
    ...options,
    swarmKeys: testSwarmKeys('old'),
    contacts: [addressOf(changed)],
  })
  assert.deepEqual(await collect(ended, key), [])
  assert.equal(ended.stats().dhtNodes, 0)
})

test('in the open swarm a plain client of bittorrent-dht finds us, and we find it', async (t) => {
  await using net = await Testnet.open(2, { isPublic: true })
  await net.met()
  const plain = new DHT({ bootstrap: false })
  t.after(() => plain.destroy(() => {}))
  const isListening = new Promise((resolve) => plain.once('listening', () => resolve(undefined)))
  plain.listen()
  await isListening
  plain.addNode(addressOf(net.at(0)))
  await new Promise((resolve) => plain.once('node', resolve))
  net.at(1).announce(key)
  await net.settled()
  const found = new Promise((resolve) => plain.once('peer', resolve))
  plain.lookup(key, () => {})
  assert.deepEqual(await found, addressOf(net.at(1)))
  await new Promise((resolve) => plain.announce(testKey('theirs'), 4711, resolve))
  assert.deepEqual(await collect(net.at(1), testKey('theirs')), [{ host: '127.0.0.1', port: 4711 }])
})

test('a member gets as much as fits into a packet, however much the node knows', async () => {
  await using net = await Testnet.open(1, { tuning: UNLIMITED })
  const swarmKey = testSwarmKey('testnet')
  const node = addressOf(net.at(0))
  const info_hash = Buffer.from(key, 'hex')
  await using open = new AsyncDisposableStack()
  for (let index = 0; index < 30; index += 1) {
    const client = open.use(await MemberClient.open(swarmKey))
    const id = Buffer.alloc(20, index)
    client.onMessage((message, { address: host, port }) => {
      const asked = decodeDatagram(message)
      const transaction = asked instanceof Map && asked.get('q') ? asked.get('t') : undefined
      if (!transaction) return
      void client.send(bencoded({ t: transaction, y: 'r', r: { id } }), { host, port })
    })
    const { r } = await client.ask(node, { q: 'get_peers', a: { info_hash }, id })
    for (let port = 1; port <= 20; port += 1) {
      const a = { info_hash, token: r.get('token'), port: port + 20 * index }
      await client.ask(node, { q: 'announce_peer', a, id })
    }
  }
  net.at(0).announce(key)
  await until(() => net.at(0).stats().dhtNodes >= 20)
  await using member = await MemberClient.open(swarmKey)
  for (const [q, a] of [
    ['find_node', { target: info_hash }],
    ['get_peers', { info_hash }],
    ['get_peers', { info_hash: Buffer.alloc(20, 99) }],
    ['get', { target: info_hash }],
    ['ping', {}],
  ] as const) {
    const { bytes } = await member.ask(node, { q, a })
    assert.ok(bytes <= 1140, `${q}: ${bytes} bytes`)
  }
  const { r } = await member.ask(node, { q: 'get_peers', a: { info_hash } })
  const values = r.get('values')
  assert.ok(Array.isArray(values) && values.length >= 64)
})

test('in the open swarm a stranger that asks too often gets no more answers', async () => {
  const tuning = { strangerRate: { perSecond: 0.001, burst: 3 } }
  await using net = await Testnet.open(1, { isPublic: true, tuning })
  await using client = await KrpcClient.open()
  for (let index = 0; index < 3; index += 1) await client.ask(addressOf(net.at(0)), { q: 'ping' })
  const refused = net.at(0).stats().refusedDatagrams
  void client.ask(addressOf(net.at(0)), { q: 'ping' }).catch(() => {})
  await until(() => net.at(0).stats().refusedDatagrams === refused + 1)
})

test('a port that is in use is said to be, and an address that is not ours as well', async () => {
  await using net = await Testnet.open(1)
  const swarmKeys = testSwarmKeys('testnet')
  const { port } = net.at(0)
  await assert.rejects(DhtDiscovery.open({ swarmKeys, isPublic: false, host: '127.0.0.1', port }), {
    code: 'PORT_IN_USE',
  })
  for (const host of ['203.0.113.7', '::1']) {
    await assert.rejects(DhtDiscovery.open({ swarmKeys, isPublic: false, host, port: 0 }), {
      code: 'ADDRESS_UNUSABLE',
    })
  }
})

/** Whether `node` would name `holder` to who asks for the key. */
async function isTold(node: DhtDiscovery, holder: DhtDiscovery): Promise<boolean> {
  await using client = await KrpcClient.open()
  const a = { info_hash: Buffer.from(key, 'hex') }
  const { r } = await client.ask(addressOf(node), { q: 'get_peers', a })
  const values = r.get('values')
  if (!Array.isArray(values)) return false
  return values.some((value) => Buffer.isBuffer(value) && value.readUInt16BE(4) === holder.port)
}
