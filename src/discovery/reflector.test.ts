/**
 * What a node sends to an address that has proven nothing: it may be that of a victim, in whose name
 * somebody else asks. All of it counts, also what the node sends later and of its own accord.
 */
import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { test } from 'node:test'

import { bencoded } from '../testing/bencoded.ts'
import { CRASHERS, MemberClient } from '../testing/datagram-fuzz.conformance.ts'
import {
  addressOf,
  testKey,
  Testnet,
  testSwarmKey,
  testSwarmKeys,
  until,
} from '../testing/dht-testnet.ts'
import { KrpcClient } from '../testing/krpc-client.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import type { PeerAddress } from './discovery.ts'
import { DhtDiscovery } from './dht-discovery.ts'
import { decodeDatagram } from './krpc-bencode.ts'
import { DatagramSeal } from './sealed-datagram.ts'

const RATE = { perSecond: 1e6, burst: 1e6 }
const UNLIMITED = { strangerRate: RATE, knownRate: RATE, totalRate: RATE }
const key = testKey('held by many')
const info_hash = Buffer.from(key, 'hex')
const id = Buffer.alloc(20, 77)

/** Somebody of whom the node knows nothing: counts bytes, answers nothing. */
class Stranger implements AsyncDisposable {
  readonly #socket: Socket
  readonly received: Buffer[] = []
  bytesSent = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('message', (datagram) => this.received.push(datagram))
  }

  static async open(): Promise<Stranger> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 2 ** 20 })
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    return new Stranger(socket)
  }

  get bytesReceived(): number {
    return this.received.reduce((sum, { length }) => sum + length, 0)
  }

  async send(datagram: Uint8Array, { host, port }: PeerAddress): Promise<void> {
    this.bytesSent += datagram.length
    await new Promise((sent) => this.#socket.send(datagram, port, host, sent))
  }

  /** Sends a question of the shortest kind and waits for the answer; so all that came before it is here. */
  async ask(to: PeerAddress, q: string, a: object): Promise<ReadonlyMap<string, unknown>> {
    const before = this.received.length
    await this.send(bencoded({ t: 'x', y: 'q', q, a: { id, ...a } }), to)
    let answer: ReadonlyMap<string, unknown> | undefined
    await until(() => {
      answer = this.received.slice(before).map(answerIn).find(Boolean)
      return answer !== undefined
    })
    return answer ?? new Map()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close()
    await once(this.#socket, 'close')
  }
}

function answerIn(datagram: Buffer): ReadonlyMap<string, unknown> | undefined {
  const message = decodeDatagram(datagram)
  const r: unknown = message instanceof Map ? message.get('r') : undefined
  return r instanceof Map ? r : undefined
}

/** A node that answers whoever asks it, so that others know it. */
async function openAnswering(index: number): Promise<KrpcClient> {
  const client = await KrpcClient.open()
  const ownId = Buffer.alloc(20, index * 8)
  client.onMessage((datagram, { address: host, port }) => {
    const message = decodeDatagram(datagram)
    const t = message instanceof Map && message.get('q') ? message.get('t') : undefined
    if (t) void client.send(bencoded({ t, y: 'r', r: { id: ownId } }), { host, port })
  })
  return client
}

const QUESTIONS: readonly (readonly [q: string, a: object])[] = [
  ['ping', {}],
  ['find_node', { target: info_hash }],
  ['get_peers', { info_hash }],
  ['get_peers', { info_hash: Buffer.alloc(20, 99) }],
  ['get', { target: info_hash }],
]

test('in the open swarm nobody gets more than twice what was asked in its name, however much is known', async () => {
  await using net = await Testnet.open(1, { isPublic: true, tuning: UNLIMITED })
  const node = addressOf(net.at(0))
  await using open = new AsyncDisposableStack()
  for (let index = 0; index < 30; index += 1) {
    const client = open.use(await openAnswering(index))
    const ownId = Buffer.alloc(20, index * 8)
    const { r } = await client.ask(node, { q: 'get_peers', a: { info_hash }, id: ownId })
    for (let port = 1; port <= 20; port += 1) {
      const a = { info_hash, token: r.get('token'), port: port + 20 * index }
      await client.ask(node, { q: 'announce_peer', a, id: ownId })
    }
  }
  await until(() => net.at(0).stats().dhtNodes >= 20)
  const { dhtNodes } = net.at(0).stats()

  const strangers: Stranger[] = []
  for (const [q, a] of QUESTIONS) {
    const stranger = open.use(await Stranger.open())
    strangers.push(stranger)
    await stranger.ask(node, q, a)
    await stranger.ask(node, q, a)
    assertBounded(stranger, `${q} of ${Object.keys(a).join()}`)
  }
  const announcer = open.use(await Stranger.open())
  const token = (await announcer.ask(node, 'get_peers', { info_hash })).get('token')
  await announcer.ask(node, 'announce_peer', { info_hash, token, port: 4711 })
  await announcer.send(
    bencoded({ t: 'x', y: 'q', q: 'announce_peer', a: { id, info_hash, token: 'no', port: 1 } }),
    node,
  )
  for (const crasher of CRASHERS) await announcer.send(crasher, node)
  await announcer.ask(node, 'ping', {})
  strangers.push(announcer)

  // What the node has to say to those in its table is none of their business.
  for (const name of ['a', 'b', 'c']) net.at(0).announce(testKey(name))
  await net.settled()
  for (const stranger of strangers) {
    await stranger.ask(node, 'ping', {})
    assertBounded(stranger, 'after all')
  }
  assert.equal(net.at(0).stats().dhtNodes, dhtNodes)
})

test('in the open swarm who has asked is told of nothing before it has answered', async () => {
  await using net = await Testnet.open(1, { isPublic: true, tuning: UNLIMITED })
  const node = addressOf(net.at(0))
  for (let index = 0; index < 20; index += 1) net.at(0).announce(testKey(`${index}`))
  await using stranger = await Stranger.open()
  for (const [q, a] of QUESTIONS) await stranger.ask(node, q, a)
  assert.equal(net.at(0).stats().dhtNodes, 0)
  assertBounded(stranger, 'to the only one who asked')
  // The same questions by one who answers: it comes into the table, and is told.
  await using client = await openAnswering(9)
  await client.ask(node, { q: 'ping' })
  await until(() => net.at(0).stats().dhtNodes === 1)
})

for (const [limits, tuning] of [
  ['as it is', {}],
  ['without limits of rate', UNLIMITED],
] as const) {
  test(`a closed swarm, ${limits}, sends not a byte to who has no key, whatever it overheard`, async () => {
    const swarmKey = testSwarmKey('testnet')
    const random = new SeededRandom(1)
    await using net = await Testnet.open(2, { tuning })
    await net.met()
    const [target, other] = [addressOf(net.at(0)), addressOf(net.at(1))]
    net.at(0).announce(key)
    await net.settled()
    await using member = await MemberClient.open(swarmKey)
    for (const [q, a] of QUESTIONS) {
      await member.ask(target, { q, a })
      await member.ask(other, { q, a })
    }
    // The node asks the member as well, now that it knows it.
    net.at(0).announce(testKey('more'))
    await until(() => member.overheard.length > 4 * QUESTIONS.length)
    const seals = ['stranger', 'testnet'].map(
      (name) => new DatagramSeal({ swarmKeys: testSwarmKeys(name), label: 'dd1/lan\0' }),
    )

    const refusedBefore = net.at(0).stats().refusedDatagrams
    await using stranger = await Stranger.open()
    let sentCount = 0
    const send = async (datagram: Uint8Array): Promise<void> => {
      await stranger.send(datagram, target)
      sentCount += 1
      // The node is to see all of them: its buffer has an end.
      if (sentCount % 50 === 0) await until(isSeen)
    }
    const isSeen = () => net.at(0).stats().refusedDatagrams - refusedBefore >= sentCount
    for (const datagram of member.overheard) {
      await send(datagram)
      for (let count = 0; count < 20; count += 1) {
        const changed = Buffer.from(datagram)
        const at = random.below(changed.length)
        changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8))
        await send(changed)
        await send(datagram.subarray(0, random.below(datagram.length)))
        await send(Buffer.concat([datagram, random.bytes(random.below(200))]))
        await send(random.bytes(datagram.length))
      }
    }
    for (const seal of seals) await send(seal.seal(Buffer.alloc(100)))
    for (const plain of CRASHERS) await send(plain)
    await until(isSeen)
    // Nobody is told later, either.
    net.at(0).announce(testKey('later'))
    await net.settled()
    assert.equal(stranger.bytesReceived, 0)
    const { r } = await member.ask(target, { q: 'get_peers', a: { info_hash } })
    assert.ok(r.get('values'))
  })
}

test('who says a member’s question again, to one who cannot tell, gets one answer and is told of nothing', async () => {
  await using net = await Testnet.open(2, { tuning: UNLIMITED })
  await net.met()
  const node = addressOf(net.at(0))
  const seal = new DatagramSeal({ swarmKeys: testSwarmKeys('testnet'), label: 'dd1/datagram\0' })
  const farAway = Buffer.from([198, 51, 100, 9, 0x1a, 0xe1])
  const question = bencoded({ t: 'aa', y: 'q', q: 'get_peers', a: { id, info_hash } })
  await using stranger = await Stranger.open()
  await stranger.send(seal.seal(Buffer.concat([farAway, question])), node)
  await until(() => stranger.received.length === 2)
  for (let index = 0; index < 20; index += 1) net.at(0).announce(testKey(`${index}`))
  await net.settled()
  assert.equal(net.at(0).stats().dhtNodes, 1)
  // The answer and a ping: both sealed.
  assert.deepEqual(
    stranger.received.map(({ length }) => length),
    [220, 220],
  )
})

function assertBounded({ bytesReceived, bytesSent }: Stranger, what: string): void {
  const ratio = bytesReceived / bytesSent
  assert.ok(ratio <= 2, `${what}: ${bytesReceived} bytes for ${bytesSent}`)
}

test('who only reads an open DHT answers nobody, known or not, and says so with what it asks', async () => {
  await using known = await KrpcClient.open()
  await using stranger = await KrpcClient.open()
  const received: ReadonlyMap<string, unknown>[] = []
  for (const client of [known, stranger]) {
    client.onMessage((datagram) => {
      const message = decodeDatagram(datagram)
      assert.ok(message instanceof Map)
      received.push(message)
    })
  }
  known.onMessage((datagram, { address: host, port }) => {
    const question = decodeDatagram(datagram)
    const t = question instanceof Map ? question.get('t') : undefined
    void known.send(bencoded({ t, y: 'r', r: { id } }), { host, port })
  })
  await using reader = await DhtDiscovery.open({
    swarmKeys: testSwarmKeys('reader'),
    isPublic: true,
    isReadOnly: true,
    host: '127.0.0.1',
    port: 0,
    contacts: [known.address],
    tuning: UNLIMITED,
  })
  await until(() => reader.stats().dhtNodes === 1)
  const refused = reader.stats().refusedDatagrams
  const questions = ['ping', 'find_node', 'get_peers', 'get'].map((q) =>
    bencoded({ t: 'aa', y: 'q', q, a: { id, target: info_hash, info_hash } }),
  )
  for (const client of [known, stranger]) {
    for (const question of questions) await client.send(question, addressOf(reader))
  }
  await until(() => reader.stats().refusedDatagrams === refused + 2 * questions.length)
  // What would have been said to them comes before what it asks now.
  const before = received.length
  reader.addNode(stranger.address)
  await until(() => received.length > before)
  for (const message of received) {
    assert.deepEqual([String(message.get('y')), message.get('ro')], ['q', 1])
  }
})
