/** The tries of a node that was a member: it has its own identity, which was shut out, and the keys of before. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { connect } from 'node:tls'

import { DatagramSeal } from '../discovery/sealed-datagram.ts'
import { formatSealedLanMessage } from '../discovery/sealed-lan-message.ts'
import { makeNodeIdentity, nodeIdentityOf, type NodeIdentity } from '../membership/node-identity.ts'
import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { proveRequest } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf, isDigest } from '../oci/digest.ts'
import { introduce } from '../peering/channel-identity.ts'
import { memberSecrets } from '../peering/channel-secret.ts'
import { PEER_ROUTES } from '../peering/peer-messages.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { bencoded } from './bencoded.ts'
import type { OutsiderOrder } from './outsider-order.ts'
import type { OutsiderTally } from './outsider-tally.ts'
import { plainBitTorrent, questionFor } from './outsider-tcp.ts'
import type { SeededRandom } from './seeded-random.ts'

interface Stage {
  readonly order: OutsiderOrder
  readonly random: SeededRandom
  readonly tally: OutsiderTally
}

const LAN_GROUP = { host: '239.192.152.143', port: 6771 }
const ROUNDS = 25
const DATAGRAMS = 100
const CONCURRENCY = 16
const PATIENCE_MS = 3000
const LISTEN_MS = 1500

/** Everything that it could do before, over TCP: under its own name, and under new ones. */
export async function tryRevokedOverTcp(stage: Stage): Promise<void> {
  const { order, random, tally } = stage
  const { nodeKey = '' } = order.revoked ?? {}
  const paths = [...Object.values(PEER_ROUTES), 'BitTorrent']
  const tries = oldKeysOf(order).flatMap((key) =>
    (['its own name', 'a new name'] as const).flatMap((as) =>
      paths.flatMap((path) => Array.from({ length: ROUNDS }, () => ({ key, as, path }))),
    ),
  )
  const own = nodeIdentityOf(nodeKey)
  await mapConcurrently(random.shuffled(tries), CONCURRENCY, async ({ key, as, path }) => {
    const identity = as === 'a new name' ? makeNodeIdentity() : own
    const words =
      path === 'BitTorrent' ? plainBitTorrent(order) : questionAs(order, { path, key, identity })
    tally.add(`TCP, old key, ${as}`, await speak(stage, { key, identity, words }))
  })
}

/** What members said to each other, and to the neighbourhood, sealed with the keys of before. */
export async function tryRevokedOverUdp({ order, tally }: Stage): Promise<void> {
  const socket = await openSocket(order.own)
  socket.setMulticastInterface(order.own)
  socket.on('message', (bytes) => tally.heard('UDP, came back', bytes.length))
  for (const key of oldKeysOf(order)) {
    const lan = new DatagramSeal({ swarmKeys: new SwarmKeys(key), label: 'dd1/lan\0' })
    for (let round = 0; round < DATAGRAMS; round += 1) {
      for (const datagram of datagramsOf(order, key)) {
        await send(socket, datagram, order.target)
        tally.add('UDP, sealed with an old key', 0)
      }
      const greeting = { port: order.target.port, addresses: [order.own] }
      await send(socket, formatSealedLanMessage(greeting, lan), LAN_GROUP)
      tally.add('multicast, sealed with an old key', 0)
      await setTimeout(5)
    }
  }
  await setTimeout(LISTEN_MS)
  socket.close()
}

function oldKeysOf({ revoked }: OutsiderOrder): SwarmKey[] {
  return (revoked?.oldKeys ?? []).map((hex) => Buffer.from(hex, 'hex') as SwarmKey)
}

/** Proves the key, says who it is, and asks at once, without waiting to be let in. @returns bytes that came, inside */
async function speak(
  { order, tally }: Stage,
  { key, identity, words }: { key: SwarmKey; identity: NodeIdentity; words: readonly Buffer[] },
): Promise<number> {
  const [secret] = memberSecrets(new SwarmKeys(key)).toDial()
  if (!secret) throw new TypeError('a key has a secret')
  const socket = connect({
    ...order.target,
    minVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ identity: secret.makeName(), psk: secret.key }),
  })
  let heard = 0
  socket.on('error', () => {})
  socket.on('data', (bytes: Buffer) => {
    heard += bytes.length
    tally.tell(bytes)
  })
  socket.once('secureConnect', () => {
    tally.openedChannels += 1
    introduce(socket, 'client', identity)
    for (const word of words) socket.write(word)
  })
  const timer = globalThis.setTimeout(() => socket.destroy(), PATIENCE_MS)
  await new Promise((resolve) => socket.once('close', resolve))
  clearTimeout(timer)
  return heard
}

function questionAs(
  order: OutsiderOrder,
  { path, key, identity }: { path: string; key: SwarmKey; identity: NodeIdentity },
): Buffer[] {
  const mark = { orders: [], mark: '0'.repeat(16) }
  const asked = path === PEER_ROUTES.keys ? mark : questionFor(path, order)
  const isHello = path === PEER_ROUTES.hello
  const body = Buffer.from(
    JSON.stringify({ ...asked, ...(isHello && { nodeId: identity.nodeId }) }),
  )
  const proof = proveRequest({ method: 'POST', path, body }, key)
  return [
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nHost: ${order.target.host}\r\nAuthorization: ${proof}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
    ),
    body,
  ]
}

/** Questions of the DHT, for keys that were known, addressed as members do. */
function datagramsOf(order: OutsiderOrder, key: SwarmKey): Buffer[] {
  const swarmKeys = new SwarmKeys(key)
  const seal = new DatagramSeal({ swarmKeys, label: 'dd1/datagram\0' })
  const keys = new RendezvousKeys(swarmKeys)
  const [manifest] = order.digests
  const image = manifest !== undefined && isDigest(manifest) ? manifest : digestOf('x')
  const places = [keys.nodes, keys.image(image), ...order.names.map((name) => keys.reference(name))]
  const id = Buffer.alloc(20, 7)
  const questions = [
    { q: 'ping', a: { id } },
    { q: 'find_node', a: { id, target: id } },
    ...places.map((place) => ({ q: 'get_peers', a: { id, info_hash: Buffer.from(place, 'hex') } })),
  ]
  const to = Buffer.from([...order.target.host.split('.').map(Number), 0, 0])
  to.writeUInt16BE(order.target.port, 4)
  return questions.map((question) =>
    seal.seal(Buffer.concat([to, bencoded({ t: Buffer.from('ab'), y: 'q', ...question })])),
  )
}

async function openSocket(host: string): Promise<Socket> {
  const socket = createSocket('udp4').bind(0, host)
  await once(socket, 'listening')
  return socket
}

async function send(
  socket: Socket,
  bytes: Buffer,
  { port, host }: { port: number; host: string },
): Promise<void> {
  await new Promise((sent) => socket.send(bytes, port, host, sent))
}
