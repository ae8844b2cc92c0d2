/** The tries of an outsider over UDP, and what it says to the neighbourhood. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { setImmediate, setTimeout } from 'node:timers/promises'

import { bencoded } from './bencoded.ts'
import { mutatedBytes } from './mutated-bytes.ts'
import type { OutsiderOrder } from './outsider-order.ts'
import type { OutsiderTally } from './outsider-tally.ts'
import type { SeededRandom } from './seeded-random.ts'

interface Stage {
  readonly order: OutsiderOrder
  readonly random: SeededRandom
  readonly tally: OutsiderTally
}

interface UdpTry {
  readonly kind: string
  readonly bytes: Buffer
}

// BEP 14
const LAN_GROUP = { host: '239.192.152.143', port: 6771 }
const SOCKETS = 8
const BURST = 16
// Long enough for an answer that waits for something, such as a lookup.
const LISTEN_MS = 1500
const REPLAYED = 1200

/** Everything that an outsider can say in a datagram: first what it overheard, in order, then the rest. */
export async function tryOverUdp(stage: Stage): Promise<void> {
  const overheard = stage.order.datagrams.map((datagram) => Buffer.from(datagram, 'base64'))
  const rest = stage.random.shuffled(otherTries(stage, overheard))
  await sendAll(stage, [...replays(overheard), ...rest])
}

/** What others have said to the target, in order, and again and again. */
export async function replayOverUdp(stage: Stage): Promise<void> {
  await sendAll(stage, replays(stage.order.datagrams.map((text) => Buffer.from(text, 'base64'))))
}

async function sendAll(stage: Stage, tries: readonly UdpTry[]): Promise<void> {
  const { order, random, tally } = stage
  const sockets = await openSockets(stage)
  for (const [index, { kind, bytes }] of tries.entries()) {
    await sendFrom(random.pick(sockets), bytes, order.target)
    tally.add(kind, 0)
    // The target is to hear all of them: its buffer has an end.
    if (index % BURST === 0) await setImmediate()
    if (index % (BURST * 8) === 0) await setTimeout(5)
  }
  await setTimeout(LISTEN_MS)
  for (const socket of sockets) socket.close()
}

/** Messages of BEP 14 for the neighbourhood: of another swarm, and such as members send, but broken. */
export async function tryMulticast(stage: Stage): Promise<void> {
  const { order, random } = stage
  const overheard = order.multicasts.map((multicast) => Buffer.from(multicast, 'base64'))
  await using socket = await openMulticast(stage)
  for (let index = 0; index < 150; index += 1) {
    const stranger = neighbour(random.bytes(20).toString('hex'), random)
    await socket.say('multicast, another swarm', stranger)
    const original = random.pick([...overheard, stranger])
    await socket.say('multicast, mutated', withOtherKey(mutatedBytes(original, random), random))
    await setTimeout(5)
  }
}

/** What members have told the neighbourhood, in their words. */
export async function repeatMulticast(stage: Stage): Promise<void> {
  await using socket = await openMulticast(stage)
  for (const multicast of stage.order.multicasts) {
    await socket.say('multicast, overheard', Buffer.from(multicast, 'base64'))
  }
}

async function openMulticast({
  order,
  tally,
}: Stage): Promise<AsyncDisposable & { say(kind: string, bytes: Buffer): Promise<void> }> {
  const socket = await openSocket(0, order.own)
  socket.setMulticastInterface(order.own)
  return {
    async say(kind, bytes) {
      await sendFrom(socket, bytes, LAN_GROUP)
      tally.add(kind, 0)
    },
    [Symbol.asyncDispose]: async () => {
      await new Promise<void>((closed) => socket.close(closed))
    },
  }
}

function replays(overheard: readonly Buffer[]): UdpTry[] {
  const rounds = Math.ceil(REPLAYED / Math.max(1, overheard.length))
  const inOrder = Array.from({ length: rounds }, () => overheard).flat()
  return inOrder.map((bytes) => ({ kind: 'UDP, replayed in order', bytes }))
}

function otherTries({ order, random }: Stage, overheard: readonly Buffer[]): UdpTry[] {
  return [
    ...repeat(600, 'UDP, single replayed', () => random.pick(overheard)),
    ...repeat(2200, 'UDP, mutated', () => mutatedBytes(random.pick(overheard), random)),
    ...repeat(1200, 'UDP, random bytes', () => random.bytes(random.below(1400))),
    ...repeat(25, 'UDP, KRPC', ...krpcQuestions(order, random)),
  ]
}

function repeat(count: number, kind: string, ...makes: (() => Buffer)[]): UdpTry[] {
  return Array.from({ length: count }, () => makes.map((make) => ({ kind, bytes: make() }))).flat()
}

/** BEP 5 and BEP 44: as a plain node asks, and with a tail as if it were a proof. */
function krpcQuestions(order: OutsiderOrder, random: SeededRandom): (() => Buffer)[] {
  const keys = [...order.rendezvousKeys, order.infoHash].map((hex) => Buffer.from(hex, 'hex'))
  const questions: { q: string; a: object }[] = [
    { q: 'ping', a: {} },
    { q: 'find_node', a: { target: random.bytes(20) } },
    ...keys.flatMap((key) => [
      { q: 'get_peers', a: { info_hash: key } },
      { q: 'find_node', a: { target: key, want: ['n4', 'n6'] } },
      { q: 'get', a: { target: key } },
      { q: 'announce_peer', a: { info_hash: key, port: 6881, token: random.bytes(8) } },
    ]),
    { q: 'put', a: { v: 'outsider', token: random.bytes(8) } },
  ]
  const message = ({ q, a }: (typeof questions)[number]): Buffer =>
    bencoded({ t: random.bytes(2), y: 'q', q, a: { id: random.bytes(20), ...a } })
  return questions.flatMap((question) => [
    () => message(question),
    () => Buffer.concat([message(question), random.bytes(random.pick([8, 12, 16, 24, 28, 40]))]),
  ])
}

function neighbour(key: string, random: SeededRandom): Buffer {
  const host = `${LAN_GROUP.host}:${LAN_GROUP.port}`
  const lines = ['BT-SEARCH * HTTP/1.1', `Host: ${host}`, 'Port: 6881', `Infohash: ${key}`]
  return Buffer.from(
    `${lines.join('\r\n')}\r\ncookie: ${random.bytes(8).toString('hex')}\r\n\r\n\r\n`,
  )
}

/** A message that was overheard stays one if only its port was changed: the key must not be that of the swarm. */
function withOtherKey(message: Buffer, random: SeededRandom): Buffer {
  const text = message.toString('latin1')
  const key = random.bytes(20).toString('hex')
  return Buffer.from(text.replaceAll(/[0-9a-f]{40}/gi, key), 'latin1')
}

async function openSockets({ order, tally }: Stage): Promise<Socket[]> {
  const sockets: Socket[] = []
  for (let index = 0; index < SOCKETS; index += 1) {
    const socket = await openSocket(0, order.own)
    socket.on('message', (bytes) => tally.heard('UDP, came back', bytes.length))
    sockets.push(socket)
  }
  return sockets
}

async function openSocket(port: number, host: string): Promise<Socket> {
  const socket = createSocket('udp4').bind(port, host)
  await once(socket, 'listening')
  return socket
}

async function sendFrom(
  socket: Socket,
  bytes: Buffer,
  { port, host }: { port: number; host: string },
): Promise<void> {
  await new Promise((sent) => socket.send(bytes, port, host, sent))
}
