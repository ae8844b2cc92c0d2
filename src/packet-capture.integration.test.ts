/** Who listens on the way of a closed swarm learns nothing of what is pulled. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'

import type { PullResult, TorrentResult } from './control/control-protocol.ts'
import { RendezvousKeys } from './membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY, type SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { requireLab } from './testing/lab/lab-requirements.ts'
import { hostAt, openNetwork, type Network } from './testing/lab/network.ts'
import { startPacketCapture } from './testing/lab/packet-capture.ts'
import { secretsOf, writeMarkedImage, type MarkedImage } from './testing/marked-image.ts'
import type { Capture } from './testing/pcap.ts'
import {
  hashSecrets,
  PlaintextFinder,
  secretsIn,
  textSecret,
  type Secret,
} from './testing/secrets-on-wire.ts'
import { tempDir } from './testing/temp-dir.ts'

const MIB = 1024 * 1024
// One that moves as a torrent of many pieces, one that moves in one answer.
const LAYER_BYTES = [6 * MIB + 1, 300_000]
// BEP 14
const LAN_GROUP = '239.192.152.143'
const LAN_PORT = 6771
// BEP 3, BEP 14, HTTP, and the beginning of every question of BEP 5
const PROTOCOL_WORDS = ['BitTorrent', 'BT-SEARCH', 'HTTP/1.1', 'd1:ad2:id20:']
const SEEN_IN_THE_OPEN = [
  'image name',
  'tag',
  ...PROTOCOL_WORDS.map((word) => `the word ${word}`),
  'key of the nodes, hex',
  'infohash of layer 0, raw',
  'node name of the seed',
  'node name of the puller',
]

test('a capture of a whole pull of a closed swarm holds nothing of the image, that of an open one all of it', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'tcpdump'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 3 })
  const image = await writeMarkedImage(join(dir.path, 'image'), LAYER_BYTES)

  const swarmKey = randomBytes(32).toString('hex')
  const closed = await capturePull(network, { image, dir: dir.path, swarmKey })
  const open = await capturePull(network, { image, dir: dir.path })
  for (const [name, { capture }] of Object.entries({ closed, open })) {
    const { frames, datagrams, streams } = capture
    const counts = `${frames.length} frames, ${datagrams.length} datagrams, ${streams.length} streams`
    t.diagnostic(`${name}: ${counts}`)
  }

  assertMovedIn(closed.capture, image)
  const found = findingsIn(closed.capture, closed)
  t.diagnostic(`closed: ${JSON.stringify(found)}`)
  assert.deepEqual(found, { secrets: [], blocks: {} })

  // The same eyes see, where there is something to see.
  const control = findingsIn(open.capture, open)
  t.diagnostic(`open: ${JSON.stringify(control)}`)
  for (const what of SEEN_IN_THE_OPEN)
    assert.ok(control.secrets.includes(what), `${what} is not seen in the open swarm`)
  for (const { role } of image.blobs)
    assert.ok(control.secrets.includes(`digest of the ${role}, hex`), role)
  for (const { role, bytes } of image.blobs)
    assert.ok((control.blocks[role] ?? 0) >= Math.floor(bytes.length / 16), `blocks of ${role}`)
})

test('whatever form a secret has, and however it is sent, a capture shows it', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'tcpdump'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 1 })
  const image = await writeMarkedImage(join(dir.path, 'image'), [1000, 100])
  const secrets = [...secretsOf(image), ...hashSecrets('infohash', randomBytes(20))]
  const parts = image.blobs.map(({ role, bytes }) => ({ what: role, bytes }))
  const everyRole = image.blobs.map(({ role }) => role).toSorted()
  const sends = { 'TCP in bits': sendStream, UDP: sendDatagrams, multicast: sendMulticast }
  for (const [name, send] of Object.entries(sends)) {
    await using capture = await startPacketCapture(network)
    await send(network, [...secrets, ...parts])
    const pull = { secrets, image }
    const { secrets: found, blocks } = findingsIn(await capture.stop(), pull)
    assert.deepEqual(
      found,
      secrets.map(({ what }) => what),
      name,
    )
    assert.deepEqual(Object.keys(blocks).toSorted(), everyRole, name)
  }
})

interface CapturedPull {
  readonly image: MarkedImage
  readonly secrets: readonly Secret[]
}

/** Two nodes start, one pulls from the other, both stop: all that the network saw of it. */
async function capturePull(
  network: Network,
  { image, dir, swarmKey }: { image: MarkedImage; dir: string; swarmKey?: string },
): Promise<CapturedPull & { capture: Capture }> {
  await using capture = await startPacketCapture(network)
  const start = async (role: string, index: number) =>
    startDdockerNode({
      discovery: 'lan',
      host: hostAt(network, index),
      nodeName: `${role}-${randomBytes(8).toString('hex')}`,
      ...(swarmKey === undefined ? { args: ['--swarm', 'public'] } : { swarmKey }),
    })
  await using seed = await start('seed', 0)
  await seed.cliJson(['import', image.path, '--name', image.reference])
  await using puller = await start('puller', 1)
  const { bytes, size } = (await puller.cliJson([
    'pull',
    image.reference,
    '--no-load',
  ])) as PullResult
  assert.equal(bytes.peers, size)
  const { torrents } = (await seed.cliJson([
    'torrent',
    image.reference,
    '-o',
    join(dir, 'torrents'),
  ])) as TorrentResult
  const key = swarmKey === undefined ? PUBLIC_SWARM_KEY : Buffer.from(swarmKey, 'hex')
  const secrets = [
    ...secretsOf(image),
    ...PROTOCOL_WORDS.map((word) => textSecret(`the word ${word}`, word)),
    ...secretsOfKeys(image, new RendezvousKeys(new SwarmKeys(key as SwarmKey))),
    ...secretsOfTorrents(image, torrents),
    ...secretsOfNode('seed', seed),
    ...secretsOfNode('puller', puller),
  ]
  await puller.stop()
  await seed.stop()
  return { image, secrets, capture: await capture.stop() }
}

function secretsOfNode(role: string, { ready }: DdockerNode): Secret[] {
  return [
    textSecret(`node name of the ${role}`, ready.nodeName),
    ...hashSecrets(`id of the ${role}`, Buffer.from(ready.nodeId, 'hex')),
    ...hashSecrets(`swarm id of the ${role}`, Buffer.from(ready.swarmId, 'hex')),
  ]
}

function secretsOfKeys({ blobs }: MarkedImage, keys: RendezvousKeys): Secret[] {
  const [manifest] = blobs
  assert.ok(manifest)
  return [
    ...hashSecrets('key of the nodes', Buffer.from(keys.nodes, 'hex')),
    ...hashSecrets('key of the image', Buffer.from(keys.image(manifest.digest), 'hex')),
  ]
}

function secretsOfTorrents({ blobs }: MarkedImage, torrents: TorrentResult['torrents']): Secret[] {
  return torrents.flatMap(({ digest, infoHash }) => {
    const role = blobs.find((blob) => blob.digest === digest)?.role
    return hashSecrets(`infohash of ${role}`, Buffer.from(infoHash, 'hex'))
  })
}

/** What a capture shows of an image and its nodes; blocks of 16 bytes by the blob they are of. */
function findingsIn(
  { frames, streams }: Capture,
  { image, secrets }: CapturedPull,
): { secrets: string[]; blocks: Record<string, number> } {
  const contents = [...frames, ...streams.map(({ bytes }) => bytes)]
  const blocks = new PlaintextFinder(image.blobs).countIn(contents)
  return { secrets: secretsIn(contents, secrets), blocks }
}

/** It is the right capture: as many bytes as the image has went through it, and none is missing. */
function assertMovedIn({ streams, datagrams }: Capture, { blobs }: MarkedImage): void {
  const size = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0)
  const sent = streams.reduce((sum, { bytes }) => sum + bytes.length, 0)
  assert.ok(sent > size, `${sent} bytes of TCP for an image of ${size}`)
  assert.ok(streams.every(({ isWhole }) => isWhole))
  assert.ok(datagrams.some(({ to }) => to.host === LAN_GROUP))
  assert.ok(datagrams.some(({ to }) => to.port === 6881))
}

/** In segments so small that no frame holds a secret. */
async function sendStream(network: Network, secrets: readonly Secret[]): Promise<void> {
  const server = createServer({ noDelay: true }, (socket) => void writeInBits(socket, secrets))
  server.listen(0, network.gateway)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const read = `cat < /dev/tcp/${network.gateway}/${port} > /dev/null`
  assert.equal((await hostAt(network, 0).run('bash', ['-c', read])).code, 0)
  server.close()
}

async function writeInBits(socket: Socket, secrets: readonly Secret[]): Promise<void> {
  const all = Buffer.concat(secrets.map(({ bytes }) => bytes))
  for (let at = 0; at < all.length; at += 7) {
    await new Promise((written) => socket.write(all.subarray(at, at + 7), written))
  }
  socket.end()
}

async function sendDatagrams(network: Network, secrets: readonly Secret[]): Promise<void> {
  await sendTo(hostAt(network, 0).address, network, secrets)
}

async function sendMulticast(network: Network, secrets: readonly Secret[]): Promise<void> {
  await sendTo(LAN_GROUP, network, secrets)
}

async function sendTo(
  target: string,
  { gateway }: Network,
  secrets: readonly Secret[],
): Promise<void> {
  const socket = createSocket('udp4').bind(0, gateway)
  await once(socket, 'listening')
  socket.setMulticastInterface(gateway)
  for (const { bytes } of secrets) {
    await new Promise((sent) => socket.send(bytes, LAN_PORT, target, sent))
  }
  socket.close()
}
