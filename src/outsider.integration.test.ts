/** Who is in the same network but has not the key of the swarm gets nothing, learns nothing, breaks nothing. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import type { PullResult, TorrentResult } from './control/control-protocol.ts'
import { DatagramSeal } from './discovery/sealed-datagram.ts'
import { RendezvousKeys } from './membership/rendezvous-key.ts'
import type { SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { mustRun } from './testing/lab/child.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { requireLab } from './testing/lab/lab-requirements.ts'
import { hostAt, openNetwork, type Network } from './testing/lab/network.ts'
import { startPacketCapture, type PacketCapture } from './testing/lab/packet-capture.ts'
import { makeSelfSigned } from './testing/lab/test-authority.ts'
import { secretsOf, writeMarkedImage, type MarkedImage } from './testing/marked-image.ts'
import type { OutsiderOrder, OutsiderReport } from './testing/outsider-order.ts'
import type { Capture, Endpoint } from './testing/pcap.ts'
import {
  hashSecrets,
  PlaintextFinder,
  secretsIn,
  textSecret,
  type Secret,
} from './testing/secrets-on-wire.ts'
import { memoryOf } from './testing/process-tree.ts'
import { tempDir } from './testing/temp-dir.ts'
import { isTls } from './testing/tls-records.ts'
import { parseInvite } from './membership/invite.ts'

const MIB = 1024 * 1024
const OUTSIDER = join(import.meta.dirname, 'testing/outsider-child.ts')
const TRIES = 10_000
const UPLOAD_LIMIT = 2 * MIB
const LONG_LAYER_BYTES = 24 * MIB
// 20 to 30 measured, most of it the heap of a busier node: less than 7 KB of each try may have stayed.
const MAX_GROWTH_BYTES = 64 * MIB
const AT_ONCE_MS = 3000
// A flight of a server that was shown a hello which it had seen before, and some more.
const MAX_ANSWER_BYTES = 4096
// Members that still have the address of a node look whether it is there again, every few seconds at most.
const MAX_KNOCKS = 20
const MULTICAST = /^(?:2(?:2[4-9]|3\d)\.|ff)/

test('10,000 tries of an outsider, while a member pulls: no byte, no name, no address, no harm', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'tcpdump'])) return
  await using stage = await openStage()
  const { network, holder, member, images } = stage
  const seed = randomBytes(4).readUInt32LE()
  t.diagnostic(`seed ${seed}`)
  const order = await overhear(stage, seed)
  t.diagnostic(
    `overheard ${order.clientStreams.length} streams, ${order.datagrams.length} datagrams`,
  )

  const beforeBytes = memoryOf(holder.pid)
  await using capture = await startPacketCapture(network)
  const [report, long] = await Promise.all([
    runOutsider(network, { order, role: 'tries' }),
    pullOf(member, images.long),
  ])
  const seen = await capture.stop()
  const growthBytes = memoryOf(holder.pid) - beforeBytes
  tellOf(t, report)
  t.diagnostic(`${report.ms} ms of tries, ${long.ms} ms of pull`)
  t.diagnostic(`memory: ${mib(beforeBytes)} MiB, then ${mib(growthBytes)} MiB more`)

  const counts = Object.values(report.kinds)
  assert.ok(counts.reduce((sum, { tries }) => sum + tries, 0) >= TRIES)
  assert.equal(report.openedChannels, 0)
  assert.equal(report.keptOpen, 0, 'idle and slow connections are still open')
  const { streams, datagrams } = heardBy(hostAt(network, 2).address, seen)
  t.diagnostic(`came back over TCP: ${streams.length} streams, ${bytesIn(streams)} bytes`)
  t.diagnostic(`came back over UDP: ${datagrams.length} datagrams, ${bytesIn(datagrams)} bytes`)
  assert.equal(datagrams.length, 0, 'over UDP nothing comes back')
  assert.ok(
    streams.every((stream) => isTls(stream)),
    'something else than TLS came back',
  )
  assert.ok(streams.every(({ length }) => length <= MAX_ANSWER_BYTES))
  assertNothingIn([...streams, Buffer.from(report.told, 'base64')], stage)

  // Whoever is on the host of a member has its address, and gets no more for that.
  const beside = { ...order, own: hostAt(network, 1).address }
  const { kinds } = await runOutsider(network, { order: beside, role: 'beside', host: 1 })
  assert.deepEqual(Object.keys(kinds), ['UDP, replayed in order'])

  assert.equal(long.bytes.peers, long.size)
  assert.ok(growthBytes < MAX_GROWTH_BYTES, `${mib(growthBytes)} MiB more`)
  const after = await pullOf(member, images.after)
  t.diagnostic(`a pull afterwards: ${after.ms} ms`)
  assert.equal(after.bytes.peers, after.size)
  assert.ok(after.ms < AT_ONCE_MS)
})

test('a node of another swarm meets nobody, and who repeats what members tell the neighbourhood is told nothing', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'tcpdump'])) return
  await using stage = await openStage()
  const { network, holder, member, images } = stage
  const order = await overhear(stage, 1)
  const address = hostAt(network, 2).address

  await using first = await startPacketCapture(network)
  assert.equal(await pullAsStranger(stage), 1)
  const asNode = heardBy(address, await first.stop())
  assert.equal(asNode.datagrams.length, 0, 'over UDP nothing comes back')

  await using second = await startPacketCapture(network)
  const report = await runOutsider(network, { order, role: 'neighbour' })
  const { streams, datagrams } = heardBy(address, await second.stop())
  tellOf(t, report)
  t.diagnostic(`connections to the outsider: ${report.dialled}`)
  t.diagnostic(`over TCP ${bytesIn(streams)} bytes, over UDP ${bytesIn(datagrams)} bytes`)
  // What was said before a member came is new to it, but it is said from another address.
  assert.equal(bytesIn(datagrams), 0, 'over UDP nothing comes back')
  assert.equal(report.openedChannels, 0)
  const told = Buffer.from(report.told, 'base64')
  assertNothingIn([...asNode.streams, ...streams, ...datagrams, told], stage)
  for (const { body } of [await holder.get('/api/v1/peers'), await member.get('/api/v1/peers')]) {
    assert.ok(!body.includes(address), body)
  }
  const after = await pullOf(member, images.after)
  t.diagnostic(`a pull afterwards: ${after.ms} ms`)
  assert.ok(after.ms < AT_ONCE_MS)
})

test('who was shut out, with its own name, new names and two old keys: no byte, no name, no address, no harm', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'tcpdump'])) return
  await using stage = await openStage()
  const { network, holder, member, images } = stage
  const order = await overhear(stage, 2)
  const { revoked, pulling } = await shutOut(stage)
  await using capture = await startPacketCapture(network)
  const [report, long] = await Promise.all([
    runOutsider(network, { order: { ...order, revoked }, role: 'revoked' }),
    pulling,
  ])
  const { streams, datagrams } = heardBy(hostAt(network, 2).address, await capture.stop())
  tellOf(t, report)
  t.diagnostic(`${report.ms} ms of tries, ${long.ms} ms of a pull that began before both changes`)
  const counts = Object.values(report.kinds)
  t.diagnostic(
    `${counts.reduce((sum, { tries }) => sum + tries, 0)} tries, ${report.openedChannels} of them proved an old key`,
  )
  t.diagnostic(
    `came back: ${bytesIn(streams)} bytes in ${streams.length} streams, ${datagrams.length} datagrams`,
  )
  // He is understood, so that is not why nothing comes. A member that goes by an address which it heard a while ago finds
  // nobody there: those are no channels, and in none of all something is said.
  const proven = Object.entries(report.kinds).filter(([kind]) => kind.startsWith('TCP'))
  assert.equal(
    report.openedChannels,
    proven.reduce((sum, [, { tries }]) => sum + tries, 0),
  )
  assert.equal(report.told, '', 'something was said inside of a channel')
  assert.equal(report.kinds['UDP, came back'], undefined, 'over UDP nothing comes back')
  // What is still sent to where it was, it cannot read.
  for (const oldKey of revoked.oldKeys) {
    const swarmKeys = new SwarmKeys(Buffer.from(oldKey, 'hex') as SwarmKey)
    const seal = new DatagramSeal({ swarmKeys, label: 'dd1/datagram\0' })
    assert.deepEqual(
      datagrams.filter((datagram) => seal.open(datagram)),
      [],
    )
  }
  assert.ok(report.dialled <= MAX_KNOCKS, `members came ${report.dialled} times`)
  assert.ok(streams.every((stream) => isTls(stream)))
  assert.ok(streams.every(({ length }) => length <= MAX_ANSWER_BYTES))
  assertNothingIn(streams, stage)
  assert.equal(long.bytes.peers, long.size)
  for (const { body } of [await holder.get('/api/v1/peers'), await member.get('/api/v1/peers')])
    assert.ok(!body.includes(hostAt(network, 2).address), body)
  const after = await pullOf(member, images.after)
  assert.equal(after.bytes.peers, after.size)
  assert.ok(after.ms < AT_ONCE_MS)
})

/**
 * A third member is there; while another pulls, the key is changed, and then he is shut out.
 * @returns what he still has, and that pull
 */
async function shutOut({ network, swarmKey, holder, member, images }: Stage) {
  await using lost = await startDdockerNode({
    discovery: 'lan',
    host: hostAt(network, 2),
    nodeName: 'lost',
    swarmKey,
  })
  assert.equal((await pullOf(lost, images.overheard)).bytes.upstream, 0)
  const pulling = pullOf(member, images.long)
  let isOver = false
  // it is awaited later, or something has failed before
  pulling.catch(() => {}).finally(() => (isOver = true))
  await holder.cliJson(['swarm', 'rotate', '--overlap', '1s'])
  const { invite } = (await lost.cliJson(['swarm', 'invite'])) as { invite: string }
  const parsed = parseInvite(invite)
  assert.ok(parsed.kind === 'key' && parsed.key.toString('hex') !== swarmKey)
  const { code, stdout } = await member.cli(['swarm', 'revoke', 'lost'])
  assert.equal(code, 0, stdout)
  assert.match(stdout, /^1 member has it: holder-/m)
  assert.equal(isOver, false, 'the pull was over before')
  const { code: pulled } = await lost.cli(['pull', images.after.reference, '--no-load'])
  assert.equal(pulled, 1)
  const nodeKey = await readFile(join(lost.dataDir, 'keys/node.pem'), 'utf8')
  return { revoked: { nodeKey, oldKeys: [swarmKey, parsed.key.toString('hex')] }, pulling }
}

/** A real node with another key, that was told of the holder in every way there is. @returns the exit code of its pull */
async function pullAsStranger({ network, holder, images }: Stage): Promise<number | null> {
  await using stranger = await startDdockerNode({
    discovery: `lan,bootstrap:${holder.peerAddress},static:${holder.peerAddress}`,
    host: hostAt(network, 2),
    nodeName: 'stranger',
    swarmKey: randomBytes(32).toString('hex'),
  })
  const { code } = await stranger.cli(['pull', images.after.reference, '--no-load'])
  assert.deepEqual(JSON.parse((await stranger.get('/api/v1/peers')).body), { peers: [] })
  return code
}

interface Stage extends AsyncDisposable {
  readonly dir: string
  readonly network: Network
  readonly swarmKey: string
  readonly holder: DdockerNode
  readonly member: DdockerNode
  /** overheard: pulled before; long: pulled meanwhile; after: pulled when all is over */
  readonly images: { overheard: MarkedImage; long: MarkedImage; after: MarkedImage }
  readonly torrents: TorrentResult['torrents']
  /** begun before the nodes were */
  readonly capture: PacketCapture
}

/** A closed swarm of a holder and a member on a LAN, in which there is a third host. */
async function openStage(): Promise<Stage> {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await tempDir()).path
  const network = opened.use(await openNetwork({ hostCount: 3 }))
  const images = {
    overheard: await writeMarkedImage(join(dir, 'overheard'), [2 * MIB + 1, 50_000]),
    long: await writeMarkedImage(join(dir, 'long'), [LONG_LAYER_BYTES]),
    after: await writeMarkedImage(join(dir, 'after'), [1.5 * MIB, 50_000]),
  }
  const capture = opened.use(await startPacketCapture(network))
  const swarmKey = randomBytes(32).toString('hex')
  const start = async (role: string, index: number, args: readonly string[]) =>
    opened.use(
      await startDdockerNode({
        discovery: 'lan',
        host: hostAt(network, index),
        nodeName: `${role}-${randomBytes(8).toString('hex')}`,
        swarmKey,
        args,
      }),
    )
  const holder = await start('holder', 0, ['--upload-limit', `${UPLOAD_LIMIT}`])
  for (const { path, reference } of Object.values(images)) {
    await holder.cliJson(['import', path, '--name', reference])
  }
  const written = ['torrent', images.overheard.reference, '-o', join(dir, 'torrents')]
  const { torrents } = (await holder.cliJson(written)) as TorrentResult
  const member = await start('member', 1, [])
  const resources = opened.move()
  return {
    dir,
    network,
    swarmKey,
    holder,
    member,
    images,
    torrents,
    capture,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** What an outsider could know after a whole pull that it listened to. */
async function overhear(stage: Stage, seed: number): Promise<OutsiderOrder> {
  const { network, holder, member, images, torrents, capture } = stage
  const { bytes, size } = await pullOf(member, images.overheard)
  assert.equal(bytes.peers, size)
  const { streams, datagrams } = await capture.stop()
  const [host, port] = [hostAt(network, 0).address, holder.ready.peerPort]
  const isTarget = (end: Endpoint): boolean => end.host === host && end.port === port
  const keys = new RendezvousKeys(new SwarmKeys(Buffer.from(stage.swarmKey, 'hex') as SwarmKey))
  const { reference, blobs, layers } = images.overheard
  const [manifest] = blobs
  const infoHash = torrents.find(({ digest }) => digest === layers[0]?.digest)?.infoHash
  const multicasts = datagrams.filter(({ to }) => MULTICAST.test(to.host))
  assert.ok(manifest && infoHash && multicasts.length > 0)
  return {
    ...(await makeSelfSigned('outsider')),
    own: hostAt(network, 2).address,
    target: { host, port },
    seed,
    infoHash,
    clientStreams: textsOf(streams.filter(({ to, isClient }) => isClient && isTarget(to))),
    serverStreams: textsOf(streams.filter(({ from, isClient }) => !isClient && isTarget(from))),
    datagrams: textsOf(datagrams.filter(({ to }) => isTarget(to))),
    multicasts: textsOf(multicasts),
    rendezvousKeys: [keys.nodes, keys.image(manifest.digest), keys.reference(reference)],
    digests: blobs.map(({ digest }) => digest),
    names: [reference],
  }
}

async function runOutsider(
  network: Network,
  { order, role, host = 2 }: { order: OutsiderOrder; role: string; host?: number },
): Promise<OutsiderReport> {
  const { prefix } = hostAt(network, host)
  const input = JSON.stringify(order)
  const ran = await mustRun(process.execPath, [OUTSIDER, role], { prefix, input })
  return JSON.parse(ran.stdout) as OutsiderReport
}

async function pullOf(node: DdockerNode, { reference }: MarkedImage): Promise<PullResult> {
  return (await node.cliJson(['pull', reference, '--no-load'])) as PullResult
}

/** What was sent to this address alone: what TCP carried, and every datagram. */
function heardBy(
  address: string,
  { streams, datagrams }: Capture,
): { streams: Buffer[]; datagrams: Buffer[] } {
  return {
    streams: streams.filter(({ to }) => to.host === address).map(({ bytes }) => bytes),
    datagrams: datagrams.filter(({ to }) => to.host === address).map(({ payload }) => payload),
  }
}

function assertNothingIn(contents: readonly Buffer[], stage: Stage): void {
  const { images, network, torrents, holder, member } = stage
  const all = Object.values(images)
  const secrets: Secret[] = [
    ...all.flatMap(secretsOf),
    ...torrents.flatMap(({ infoHash }) => hashSecrets('infohash', Buffer.from(infoHash, 'hex'))),
    textSecret('info dictionary', 'piece length'),
    ...[holder, member].flatMap(({ ready: { nodeName, nodeId, swarmId } }) => [
      textSecret('node name', nodeName),
      ...hashSecrets('node id', Buffer.from(nodeId, 'hex')),
      ...hashSecrets('swarm id', Buffer.from(swarmId, 'hex')),
    ]),
    ...addressSecrets(hostAt(network, 1).address, member.ready.peerPort),
  ]
  assert.deepEqual(secretsIn(contents, secrets), [])
  // A run of 31 bytes in common would hold a whole block of what came back.
  const finder = new PlaintextFinder(contents.map((bytes) => ({ role: 'came back', bytes })))
  assert.deepEqual(finder.countIn(all.flatMap(({ blobs }) => blobs).map(({ bytes }) => bytes)), {})
}

/** As text, and as BEP 5 and BEP 23 have it. */
function addressSecrets(host: string, port: number): Secret[] {
  const compact = Buffer.from([...host.split('.').map(Number), port >> 8, port & 255])
  return [textSecret('address of the member', host), { what: 'compact address', bytes: compact }]
}

function tellOf(t: { diagnostic(text: string): void }, { kinds }: OutsiderReport): void {
  for (const [kind, { tries, answered, bytes }] of Object.entries(kinds)) {
    t.diagnostic(`${kind}: ${tries} tries, ${answered} answered, ${bytes} bytes`)
  }
}

function textsOf(parts: readonly ({ payload: Buffer } | { bytes: Buffer })[]): string[] {
  return parts.map((part) => ('bytes' in part ? part.bytes : part.payload).toString('base64'))
}

function bytesIn(parts: readonly Buffer[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0)
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1)
}
