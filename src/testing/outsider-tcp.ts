/** The tries of an outsider over TCP: what it says on a connection, and what comes back. */
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'

import { proveRequest } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { PEER_ROUTES } from '../peering/peer-messages.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { mutatedBytes } from './mutated-bytes.ts'
import type { OutsiderOrder } from './outsider-order.ts'
import type { OutsiderTally } from './outsider-tally.ts'
import type { SeededRandom } from './seeded-random.ts'
import { identityIn, recordsOf } from './tls-records.ts'
import { handshake, message } from './wire-fuzz.ts'

interface Stage {
  readonly order: OutsiderOrder
  readonly random: SeededRandom
  readonly tally: OutsiderTally
}

interface TcpTry {
  readonly kind: string
  run(stage: Stage): Promise<number>
}

const CONCURRENCY = 32
// More than a busy node needs to end a connection that has failed.
const PATIENCE_MS = 3000
const HELD = 120
const HELD_MS = 20_000
const DRIP_MS = 500
// What a stranger says after this is never read.
const HEAD_BYTES = 4096
const TLS12 = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
const TLS13 = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const

/** Everything that an outsider can say first on a connection, by kinds, many connections at a time. */
export async function tryOverTcp(stage: Stage): Promise<void> {
  await mapConcurrently(triesOf(stage), CONCURRENCY, async (one) => {
    stage.tally.add(one.kind, await one.run(stage))
  })
}

/** Connections that say nothing, and such that say something, but slowly: until the target has enough. */
export async function holdConnections({ order, tally }: Stage): Promise<void> {
  const hello = Buffer.from(order.clientStreams[0] ?? '', 'base64')
  const hold = async (kind: string, words: Buffer): Promise<void> => {
    const socket = connect(order.target)
    const heard = bytesOf(socket)
    const deadline = setTimeout(() => {
      tally.keptOpen += 1
      socket.destroy()
    }, HELD_MS)
    let said = 0
    const drip = setInterval(() => {
      if (said < words.length) socket.write(words.subarray(said, (said += 1)))
    }, DRIP_MS)
    await heard.closed
    clearTimeout(deadline)
    clearInterval(drip)
    tally.add(kind, heard.count())
  }
  const each = Array.from({ length: HELD })
  await Promise.all([
    ...each.map(async () => hold('TCP, says nothing', Buffer.alloc(0))),
    ...each.map(async () => hold('TCP, slow TLS hello', hello)),
  ])
}

function triesOf({ order, random }: Stage): TcpTry[] {
  const clients = order.clientStreams.map(bytesFrom)
  const servers = order.serverStreams.map(bytesFrom)
  const records = clients.flatMap(recordsOf)
  const heads = clients.map((stream) => stream.subarray(0, HEAD_BYTES))
  const tries = [
    ...clients.flatMap((stream) =>
      repeat(
        60,
        spoken('TCP, replayed stream', () => [stream]),
      ),
    ),
    ...clients.flatMap((stream) =>
      repeat(
        20,
        spoken('TCP, replayed stream in records', () => recordsOf(stream)),
      ),
    ),
    ...servers.flatMap((stream) =>
      repeat(
        20,
        spoken('TCP, its own words', () => [stream]),
      ),
    ),
    ...repeat(
      300,
      spoken('TCP, single record', () => [random.pick(records)]),
    ),
    ...repeat(
      300,
      spoken('TCP, shuffled records', () => random.shuffled(records).slice(0, 8)),
    ),
    ...repeat(
      1600,
      spoken('TCP, mutated stream', () => [mutated(random, heads)]),
    ),
    ...repeat(
      500,
      spoken('TCP, mutated record', () => [mutated(random, records)]),
    ),
    ...repeat(
      600,
      spoken('TCP, random bytes', () => [random.bytes(random.below(1200))]),
    ),
    ...repeat(
      300,
      spoken('TCP, random TLS record', () => [randomRecord(random)]),
    ),
    ...repeat(
      150,
      spoken('TCP, plain BitTorrent', () => plainBitTorrent(order)),
    ),
    ...repeat(25, ...Object.values(PEER_ROUTES).map((path) => question(path, order))),
    ...repeat(25, ...Object.values(PEER_ROUTES).map((path) => question(path, order, random))),
    ...tlsTries({ order, random, identity: identityIn(clients[0] ?? Buffer.alloc(0)) }),
  ]
  return random.shuffled(tries)
}

function tlsTries(options: {
  order: OutsiderOrder
  random: SeededRandom
  identity: string | undefined
}): TcpTry[] {
  const { order, random, identity = 'ddocker' } = options
  const psk = (name: string) => ({ pskCallback: () => ({ identity: name, psk: random.bytes(32) }) })
  const own = { cert: order.certificate, key: order.key }
  const ciphers = 'PSK-AES128-GCM-SHA256:ECDHE-PSK-CHACHA20-POLY1305:PSK-AES128-CBC-SHA'
  const known = { ...TLS13, ciphers: 'TLS_AES_128_GCM_SHA256', ...psk(identity) }
  return [
    ...repeat(120, encrypted('TLS 1.3, its identity and another key', known)),
    ...repeat(60, encrypted('TLS 1.3, another identity and key', { ...known, ...psk('member') })),
    ...repeat(60, encrypted('TLS 1.3, no proof', TLS13)),
    ...repeat(60, encrypted('TLS 1.3, a certificate', { ...TLS13, ...own })),
    ...repeat(60, encrypted('TLS 1.2, a certificate', { ...TLS12, ...own })),
    ...repeat(60, encrypted('TLS 1.2, another key', { ...TLS12, ciphers, ...psk(identity) })),
  ]
}

function repeat(count: number, ...tries: TcpTry[]): TcpTry[] {
  return Array.from({ length: count }, () => tries).flat()
}

/** Says all of it, then that it is done, and listens. */
function spoken(kind: string, words: () => readonly Buffer[]): TcpTry {
  return {
    kind,
    run: async ({ order }) => {
      const socket = connect({ ...order.target, allowHalfOpen: true })
      const heard = bytesOf(socket)
      for (const word of words()) socket.write(word)
      socket.end()
      await heard.orGiveUp(PATIENCE_MS)
      return heard.count()
    },
  }
}

/** Opens TLS, and speaks if that is let: what comes then is told. */
function encrypted(kind: string, options: ConnectionOptions): TcpTry {
  return {
    kind,
    run: async ({ order, tally }) => {
      const lenient = { rejectUnauthorized: false, checkServerIdentity: () => undefined }
      const socket = connectTls({ ...order.target, ...options, ...lenient })
      const heard = bytesOf(socket)
      socket.on('data', (bytes: Buffer) => tally.tell(bytes))
      socket.once('secureConnect', () => {
        tally.openedChannels += 1
        for (const word of plainBitTorrent(order)) socket.write(word)
      })
      await heard.orGiveUp(PATIENCE_MS)
      return heard.count()
    },
  }
}

function question(path: string, order: OutsiderOrder, random?: SeededRandom): TcpTry {
  const body = Buffer.from(JSON.stringify(questionFor(path, order)))
  const kind = random ? 'HTTP, proof of another key' : 'HTTP, no proof'
  const proof = (): string =>
    random
      ? `Authorization: ${proveRequest({ method: 'POST', path, body }, random.bytes(32) as SwarmKey)}\r\n`
      : ''
  return spoken(kind, () => [
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nHost: ${order.target.host}:${order.target.port}\r\n${proof()}` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
    ),
    body,
  ])
}

/** What a member asks on a route. */
export function questionFor(path: string, { digests, names }: OutsiderOrder): object {
  const [digest] = digests
  switch (path) {
    case PEER_ROUTES.hello:
      return { nodeId: 'ab'.repeat(32), nodeName: 'outsider', version: '1', peerPort: 6881 }
    case PEER_ROUTES.have:
      return { digests }
    case PEER_ROUTES.references:
      return { names }
    case PEER_ROUTES.warm:
      return { nodeId: 'ab'.repeat(32), references: names, load: false, parallel: 1 }
    default:
      return { digest }
  }
}

/** A handshake of BitTorrent, and what a peer that wants all says after it. */
export function plainBitTorrent({ infoHash }: OutsiderOrder): Buffer[] {
  const metadata = Buffer.from('\u0000d1:md11:ut_metadatai3eee', 'latin1')
  const wanted = Buffer.from('\u0003d8:msg_typei0e5:piecei0ee', 'latin1')
  const interested = message(2)
  return [
    handshake(infoHash),
    message(20, metadata),
    message(20, wanted),
    interested,
    message(6, 0, 0, 16_384),
  ]
}

function randomRecord(random: SeededRandom): Buffer {
  const body = random.bytes(1 + random.below(600))
  const head = Buffer.from([20 + random.below(4), 3, 1 + random.below(3), 0, 0])
  head.writeUInt16BE(body.length, 3)
  return Buffer.concat([head, body])
}

function mutated(random: SeededRandom, originals: readonly Buffer[]): Buffer {
  return mutatedBytes(random.pick(originals), random)
}

function bytesFrom(base64: string): Buffer {
  return Buffer.from(base64, 'base64')
}

interface HeardBytes {
  readonly closed: Promise<unknown>
  orGiveUp(ms: number): Promise<void>
  count(): number
}

function bytesOf(socket: Socket): HeardBytes {
  socket.on('error', () => {})
  let count = 0
  socket.on('data', (bytes: Buffer) => (count += bytes.length))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  return {
    closed,
    count: () => count,
    async orGiveUp(ms) {
      const timer = setTimeout(() => socket.destroy(), ms)
      await closed
      clearTimeout(timer)
    },
  }
}
