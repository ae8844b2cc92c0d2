import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'

import { silentLog, type Log } from '../telemetry/log.ts'
import { testKey, testSwarmKeys, until } from '../testing/dht-testnet.ts'
import type { PeerAddress } from './discovery.ts'
import { LanDiscovery } from './lan-discovery.ts'
import { DatagramSeal } from './sealed-datagram.ts'

const GROUP = '239.192.152.143'
const nodesKey = testKey('nodes')

/** A node on the multicast of loopback; the first picks the port of the group, the others share it. */
async function join(options: { peerPort: number; groupPort?: number; seal?: DatagramSeal }) {
  const heard: PeerAddress[] = []
  const lan = await LanDiscovery.open({
    nodesKey,
    groupPort: 0,
    interfaces: ['127.0.0.1'],
    onNode: (address) => heard.push(address),
    ...options,
  })
  return { lan, heard }
}

test('nodes hear each other, the newcomer those who were there before, and nobody itself', async () => {
  const a = await join({ peerPort: 1001 })
  await using lanA = a.lan
  const { groupPort } = lanA
  const b = await join({ peerPort: 1002, groupPort })
  await using lanB = b.lan
  const peerA = { host: '127.0.0.1', port: 1001 }
  const peerB = { host: '127.0.0.1', port: 1002 }
  await until(() => lanA.peersAt(nodesKey).length === 1 && lanB.peersAt(nodesKey).length === 1)
  assert.deepEqual(lanA.peersAt(nodesKey), [peerB])
  assert.deepEqual(lanB.peersAt(nodesKey), [peerA])
  assert.deepEqual(a.heard[0], peerB)
  assert.deepEqual(b.heard[0], peerA)
  assert.deepEqual(lanA.peersAt(testKey('image')), [])
})

test('nodes of another swarm, other clients and garbage go unheard', async () => {
  const ours = await join({ peerPort: 1001 })
  await using lan = ours.lan
  const { groupPort } = lan
  const stranger = createSocket({ type: 'udp4', reuseAddr: true })
  stranger.bind(0, '127.0.0.1')
  await once(stranger, 'listening')
  stranger.setMulticastInterface('127.0.0.1')
  const say = (text: string) =>
    new Promise((resolve) => stranger.send(text, groupPort, GROUP, resolve))
  await say('garbage')
  await say(`BT-SEARCH * HTTP/1.1\r\nPort: 7\r\nInfohash: ${testKey('other')}\r\n\r\n`)
  await say(`BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: ${nodesKey}\r\n\r\n`)
  await say(`BT-SEARCH * HTTP/1.1\r\nPort: 8\r\nInfohash: ${nodesKey}\r\n\r\n`)
  await until(() => ours.heard.length > 0)
  assert.deepEqual(ours.heard, [{ host: '127.0.0.1', port: 8 }])
  stranger.close()
  await once(stranger, 'close')
})

test('nodes of a closed swarm find each other in no time, others see noise of one length', async (t) => {
  await using open = new AsyncDisposableStack()
  const startMs = performance.now()
  const a = await join({ peerPort: 1001, seal: sealOf('ours') })
  open.use(a.lan)
  const { groupPort } = a.lan
  const { overheard, say } = await overhear(t, groupPort)
  const b = await join({ peerPort: 1002, groupPort, seal: sealOf('ours') })
  open.use(b.lan)
  await until(() => a.heard.length > 0 && b.heard.length > 0)
  assert.ok(performance.now() - startMs < 5000)
  assert.deepEqual(a.heard[0], { host: '127.0.0.1', port: 1002 })
  assert.deepEqual(b.heard[0], { host: '127.0.0.1', port: 1001 })
  const other = await join({ peerPort: 1003, groupPort, seal: sealOf('others') })
  open.use(other.lan)
  await until(() => overheard.length >= 4)
  assert.deepEqual(new Set(overheard.map(({ length }) => length)), new Set([220]))

  const [first] = overheard
  assert.ok(first)
  for (let count = 0; count < 20; count += 1) await say(first)
  await say(`BT-SEARCH * HTTP/1.1\r\nPort: 8\r\nInfohash: ${nodesKey}\r\n\r\n`)
  const late = await join({ peerPort: 1004, groupPort, seal: sealOf('ours') })
  open.use(late.lan)
  await until(() => a.heard.some(({ port }) => port === 1004))
  assert.deepEqual(new Set(a.heard.map(({ port }) => port)), new Set([1002, 1004]))
  assert.ok(a.heard.length < 20, `${a.heard.length} messages were taken`)
  assert.deepEqual(other.heard, [])
})

test('what is said again from another address draws nothing from a member that came later', async (t) => {
  await using open = new AsyncDisposableStack()
  const a = await join({ peerPort: 1001, seal: sealOf('ours') })
  open.use(a.lan)
  const { groupPort } = a.lan
  const { overheard } = await overhear(t, groupPort)
  const elsewhere = createSocket({ type: 'udp4', reuseAddr: true })
  t.after(() => elsewhere.close())
  elsewhere.bind(0, '127.0.0.2')
  await once(elsewhere, 'listening')
  elsewhere.setMulticastInterface('127.0.0.1')
  await until(() => overheard.length > 0)
  await a.lan[Symbol.asyncDispose]()

  const late = await join({ peerPort: 1002, groupPort, seal: sealOf('ours') })
  open.use(late.lan)
  for (const message of overheard.splice(0)) {
    elsewhere.send(message, groupPort, GROUP)
    await until(() => overheard.some((each) => each.equals(message)))
  }
  const other = await join({ peerPort: 1003, groupPort, seal: sealOf('ours') })
  open.use(other.lan)
  await until(() => late.heard.length > 0)
  assert.deepEqual(new Set(late.heard.map(({ port }) => port)), new Set([1003]))
})

test('while a swarm changes its key, who has both understands both', async () => {
  await using open = new AsyncDisposableStack()
  const a = await join({ peerPort: 1001, seal: sealOf('next', 'old') })
  open.use(a.lan)
  const { groupPort } = a.lan
  const b = await join({ peerPort: 1002, groupPort, seal: sealOf('old', 'next') })
  open.use(b.lan)
  const c = await join({ peerPort: 1003, groupPort, seal: sealOf('old') })
  open.use(c.lan)
  const portsOf = ({ heard }: typeof a) => new Set(heard.map(({ port }) => port))
  await until(() => portsOf(a).size === 2 && portsOf(b).size === 2 && portsOf(c).size === 1)
  assert.deepEqual(portsOf(c), new Set([1002]))
})

function sealOf(name: string, ...others: string[]): DatagramSeal {
  return new DatagramSeal({
    swarmKeys: testSwarmKeys(name, ...others),
    label: 'dd1/lan\0',
  })
}

/** Somebody in the group who has no key. */
async function overhear(t: TestContext, groupPort: number) {
  const listener = createSocket({ type: 'udp4', reuseAddr: true })
  t.after(() => listener.close())
  listener.bind(groupPort)
  await once(listener, 'listening')
  listener.addMembership(GROUP, '127.0.0.1')
  listener.setMulticastInterface('127.0.0.1')
  const overheard: Buffer[] = []
  listener.on('message', (datagram) => overheard.push(datagram))
  const say = (bytes: Buffer | string) =>
    new Promise((resolve) => listener.send(bytes, groupPort, GROUP, resolve))
  return { overheard, say }
}

test('announces twice at the start, answers newcomers together, and then once a minute', async (t) => {
  const listener = createSocket({ type: 'udp4', reuseAddr: true })
  t.after(() => listener.close())
  listener.bind(0)
  await once(listener, 'listening')
  listener.addMembership(GROUP, '127.0.0.1')
  listener.setMulticastInterface('127.0.0.1')
  const groupPort = listener.address().port
  const heard: string[] = []
  listener.on('message', (datagram) => heard.push(datagram.toString()))
  const heardNext = () => once(listener, 'message', { signal: AbortSignal.timeout(5_000) })
  const say = async (port: number) => {
    const text = `BT-SEARCH * HTTP/1.1\r\nPort: ${port}\r\nInfohash: ${nodesKey}\r\n\r\n`
    const arrives = heardNext()
    listener.send(text, groupPort, GROUP)
    await arrives
  }
  const first = heardNext()
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let nowMs = 0
  const onNode = t.mock.fn()
  const options = { nodesKey, peerPort: 1001, groupPort, interfaces: ['127.0.0.1'], onNode }
  await using _ = await LanDiscovery.open({ ...options, now: () => nowMs })
  await first
  const passAndHear = async (ms: number) => {
    const next = heardNext()
    nowMs += ms
    t.mock.timers.tick(ms)
    await next
  }

  await passAndHear(500)
  for (const port of [1, 2, 3]) await say(port)
  await until(() => onNode.mock.callCount() === 3, { immediately: true })
  await passAndHear(2_100)
  await passAndHear(66_000)
  const ours = heard.filter((text) => text.includes('Port: 1001'))
  assert.equal(ours.length, 4)
  assert.equal(new Set(ours).size, 1)
})

test('without multicast there is a line in the log, and no harm', async () => {
  const lines: unknown[] = []
  const log: Log = { ...silentLog, child: () => log, warn: (fields: unknown) => lines.push(fields) }
  // Somebody has the port for himself.
  const holder = createSocket('udp4')
  holder.bind(0)
  await once(holder, 'listening')
  await using lan = await LanDiscovery.open({
    nodesKey,
    peerPort: 1,
    groupPort: holder.address().port,
    interfaces: ['127.0.0.1'],
    onNode: () => {},
    log,
  })
  assert.equal(lines.length, 1)
  assert.equal(lan.groupPort, 0)
  assert.deepEqual(lan.peersAt(nodesKey), [])
  holder.close()
  await once(holder, 'close')
})

test('an interface that is not there costs only itself', async () => {
  const lan = await LanDiscovery.open({
    nodesKey,
    peerPort: 1,
    groupPort: 0,
    interfaces: ['203.0.113.7'],
    onNode: () => {},
  })
  await lan[Symbol.asyncDispose]()
  await lan[Symbol.asyncDispose]()
})
