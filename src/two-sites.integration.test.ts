/** Hosts of one closed swarm that know nothing of each other meet on mainline, which learns nothing of them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { test } from 'node:test'

import type { PullResult } from './control/control-protocol.ts'
import {
  daysToRead,
  daysToWrite,
  meetingPlaceOf,
  type MeetingPlace,
} from './discovery/meeting-place.ts'
import { parseMemberList } from './discovery/member-list.ts'
import { openMemberList, SEALED_LIST_BYTES } from './discovery/sealed-member-list.ts'
import { parseInvite } from './membership/invite.ts'
import { RendezvousKeys } from './membership/rendezvous-key.ts'
import type { SwarmKey } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { requireLab } from './testing/lab/lab-requirements.ts'
import { startMainline, type MainlineHost } from './testing/lab/mainline-host.ts'
import { hostAt, openNetwork, type Network } from './testing/lab/network.ts'
import { putBehind } from './testing/lab/translator.ts'
import { secretsOf, writeMarkedImage, type MarkedImage } from './testing/marked-image.ts'
import type { KeptItem } from './testing/plain-mainline.ts'
import { hashSecrets, secretsIn, textSecret, type Secret } from './testing/secrets-on-wire.ts'
import { tempDir } from './testing/temp-dir.ts'

const MIB = 1024 * 1024
const LAYER_BYTES = [6 * MIB + 1, 300_000]
const MAINLINE_NODES = 50
const LIMIT_MS = 10_000
const PORT = 6881

test('a node at another site finds the first by mainline alone and pulls by name in 10 s; the 50 nodes there learn nothing', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 3, isRouted: true })
  await using mainline = await startMainline(hostAt(network, 2), MAINLINE_NODES)
  const image = await writeMarkedImage(join(dir.path, 'image'), LAYER_BYTES)
  const swarmKey = randomBytes(32)

  await using first = await startSite({ network, index: 0, mainline, swarmKey })
  await first.cliJson(['import', image.path, '--name', image.reference])
  await untilNamed(mainline, { swarmKey, count: 1 })

  const startedMs = performance.now()
  await using second = await startSite({ network, index: 1, mainline, swarmKey })
  const readyMs = performance.now() - startedMs
  const pulled = (await second.cliJson(['pull', image.reference, '--no-load'])) as PullResult
  const ms = performance.now() - startedMs
  t.diagnostic(`cold: ready after ${Math.round(readyMs)} ms, pulled after ${Math.round(ms)} ms`)
  assert.equal(pulled.bytes.peers, pulled.size)
  assert.ok(ms < LIMIT_MS, `${ms} ms`)

  await untilNamed(mainline, { swarmKey, count: 2 })
  const { checks } = (await second.cliJson(['doctor'])) as { checks: readonly Finding[] }
  const { result, message = '' } = checks.find(({ name }) => name === 'mainline') ?? {}
  assert.equal(result, 'ok')
  const { address } = hostAt(network, 1)
  assert.match(
    message,
    new RegExp(`address from outside ${address}; 1 other member there, this one`),
  )

  const otherKey = randomBytes(32)
  await using other = await startSite({
    network,
    index: 0,
    mainline,
    swarmKey: otherKey,
    peerPort: 7001,
  })
  await untilNamed(mainline, { swarmKey: otherKey, count: 1 })
  const kept = await untilNamed(mainline, { swarmKey, count: 2 })
  assertTellsNothing(kept, {
    image,
    nodes: [first, second, other],
    swarmKeys: [swarmKey, otherKey],
  })
  assertAlike(kept, [swarmKey, otherKey])
  t.diagnostic(`${kept.length} copies of ${new Set(kept.map(({ target }) => target)).size} items`)
})

test('a node behind a router is found by the address of the router, where that forwards its port', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'iptables'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 4, isRouted: true })
  const [inner, router] = [hostAt(network, 0), hostAt(network, 3)]
  await putBehind(router, { inner, forwardedPort: PORT })
  await using mainline = await startMainline(hostAt(network, 2), MAINLINE_NODES)
  const image = await writeMarkedImage(join(dir.path, 'image'), LAYER_BYTES)
  const swarmKey = randomBytes(32)
  await using holder = await startSite({ network, index: 0, mainline, swarmKey })
  await holder.cliJson(['import', image.path, '--name', image.reference])
  const kept = await untilNamed(mainline, { swarmKey, count: 1 })
  const named = new Set(kept.flatMap((item) => namedIn(item, placesOf(swarmKey))))
  assert.deepEqual([...named], [`${router.address},${inner.address}`])
  await using puller = await startSite({ network, index: 1, mainline, swarmKey })
  const pulled = (await puller.cliJson(['pull', image.reference, '--no-load'])) as PullResult
  assert.equal(pulled.bytes.peers, pulled.size)
})

test('a node behind a router that forwards nothing finds the others, and pulls from them', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'iptables'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 4, isRouted: true })
  await putBehind(hostAt(network, 3), { inner: hostAt(network, 0) })
  await using mainline = await startMainline(hostAt(network, 2), MAINLINE_NODES)
  const image = await writeMarkedImage(join(dir.path, 'image'), LAYER_BYTES)
  const swarmKey = randomBytes(32)
  await using holder = await startSite({ network, index: 1, mainline, swarmKey })
  await holder.cliJson(['import', image.path, '--name', image.reference])
  await untilNamed(mainline, { swarmKey, count: 1 })
  await using puller = await startSite({ network, index: 0, mainline, swarmKey })
  const pulled = (await puller.cliJson(['pull', image.reference, '--no-load'])) as PullResult
  assert.equal(pulled.bytes.peers, pulled.size)
})

test('after a change of key the sites meet at another place, and who is invited then finds them', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 4, isRouted: true })
  await using mainline = await startMainline(hostAt(network, 3), MAINLINE_NODES)
  const image = await writeMarkedImage(join(dir.path, 'image'), LAYER_BYTES)
  const swarmKey = randomBytes(32)
  await using first = await startSite({ network, index: 0, mainline, swarmKey })
  await first.cliJson(['import', image.path, '--name', image.reference])
  await using second = await startSite({ network, index: 1, mainline, swarmKey })
  await untilNamed(mainline, { swarmKey, count: 2 })
  await second.cliJson(['pull', image.reference, '--no-load'])

  await first.cliJson(['swarm', 'rotate'])
  const nextKey = await newestKey(second)
  assert.notDeepEqual(nextKey, swarmKey)
  await untilNamed(mainline, { swarmKey: nextKey, count: 2 })
  await using third = await startSite({ network, index: 2, mainline, swarmKey: nextKey })
  const pulled = (await third.cliJson(['pull', image.reference, '--no-load'])) as PullResult
  assert.equal(pulled.bytes.peers, pulled.size)
})

/** The one that others are invited with. */
async function newestKey(node: DdockerNode): Promise<Buffer> {
  const { invite } = (await node.cliJson(['swarm', 'invite'])) as { invite: string }
  const parsed = parseInvite(invite)
  assert.ok(parsed.kind === 'key')
  return parsed.key
}

interface Finding {
  readonly name: string
  readonly result: string
  readonly message: string
}

interface SiteOptions {
  readonly network: Network
  readonly index: number
  readonly mainline: MainlineHost
  readonly swarmKey: Buffer
  readonly peerPort?: number
}

async function startSite(options: SiteOptions): Promise<DdockerNode> {
  const { network, index, mainline, swarmKey, peerPort = PORT } = options
  return await startDdockerNode({
    discovery: `mainline:${mainline.router}`,
    host: hostAt(network, index),
    nodeName: `site-${index}-${randomBytes(8).toString('hex')}`,
    swarmKey: swarmKey.toString('hex'),
    peerPort,
    registry: '127.0.0.1:0',
  })
}

function placesOf(swarmKey: Buffer): MeetingPlace[] {
  const key = swarmKey as SwarmKey
  // Around the end of its day, which is another time for each swarm, it has two items.
  const days = [...daysToRead(key, Date.now()), ...daysToWrite(key, Date.now())]
  return [...new Set(days)].map((day) => meetingPlaceOf(key, day))
}

/** Until the item names so many members. @returns all that the nodes of mainline keep by then */
async function untilNamed(
  mainline: MainlineHost,
  { swarmKey, count }: { swarmKey: Buffer; count: number },
): Promise<KeptItem[]> {
  const signal = AbortSignal.timeout(LIMIT_MS)
  for (;;) {
    const kept = await mainline.kept()
    const counts = kept.map((item) => namedIn(item, placesOf(swarmKey)).length)
    if (Math.max(0, ...counts) >= count) return kept
    signal.throwIfAborted()
    await setTimeout(50)
  }
}

/** Where the members are that an item names, for who has the key. */
function namedIn({ v }: KeptItem, places: readonly MeetingPlace[]): string[] {
  const lists = places.map(({ sealingKey }) => openMemberList(v, sealingKey))
  const members = lists.flatMap((list) => (list && parseMemberList(list)) ?? [])
  return members.map(({ addresses }) => addresses.map(({ host }) => host).join())
}

/** No name, id, address, digest or key is in what the nodes of mainline keep, in whatever form. */
function assertTellsNothing(
  kept: readonly KeptItem[],
  { image, nodes, swarmKeys }: { image: MarkedImage; nodes: DdockerNode[]; swarmKeys: Buffer[] },
): void {
  const secrets = [
    ...secretsOf(image),
    ...nodes.flatMap(secretsOfNode),
    ...swarmKeys.flatMap(secretsOfSwarm),
  ]
  const contents = kept.map((item) => Buffer.from(JSON.stringify(item)))
  const raw = kept.flatMap(({ target, v, k, salt, sig }) =>
    [Buffer.from(target, 'hex'), v, k, salt, sig].filter((bytes) => bytes !== undefined),
  )
  assert.ok(secrets.length > 50)
  assert.deepEqual(secretsIn([...contents, ...raw], secrets), [])
}

function secretsOfNode({ ready, peerAddress }: DdockerNode): Secret[] {
  const [host = '', port = ''] = peerAddress.split(':')
  const compact = Buffer.from([
    ...host.split('.').map(Number),
    Number(port) >> 8,
    Number(port) & 255,
  ])
  return [
    textSecret('node name', ready.nodeName),
    textSecret('address', host),
    ...hashSecrets('address and port', compact),
    ...hashSecrets('node id', Buffer.from(ready.nodeId, 'hex')),
    ...hashSecrets('beginning of a node id', Buffer.from(ready.nodeId.slice(0, 16), 'hex')),
    ...hashSecrets('swarm id', Buffer.from(ready.swarmId, 'hex')),
  ]
}

function secretsOfSwarm(swarmKey: Buffer): Secret[] {
  const { nodes } = new RendezvousKeys(new SwarmKeys(swarmKey as SwarmKey))
  const sealingKeys = placesOf(swarmKey).map(({ sealingKey }) => sealingKey.export())
  return [
    ...hashSecrets('swarm key', swarmKey),
    ...hashSecrets('key of the nodes', Buffer.from(nodes, 'hex')),
    ...sealingKeys.flatMap((key) => hashSecrets('key of the value', key)),
  ]
}

/** The items of two swarms differ in nothing but what is random in both. */
function assertAlike(kept: readonly KeptItem[], swarmKeys: readonly Buffer[]): void {
  const itemsBySwarm = swarmKeys.map((swarmKey) => {
    const targets = placesOf(swarmKey).map(({ target }) => target.toString('hex'))
    return kept.filter(({ target }) => targets.includes(target))
  })
  const shapeOf = ({ v, k, salt, sig, seq }: KeptItem) =>
    [v, k, salt, sig].map((bytes) => bytes?.length).concat(String(seq).length)
  const everyShape = new Set(kept.map((item) => JSON.stringify(shapeOf(item))))
  assert.deepEqual([...everyShape], [JSON.stringify([SEALED_LIST_BYTES, 32, 16, 64, 10])])
  for (const [index, items] of itemsBySwarm.entries()) {
    assert.notEqual(items.length, 0)
    // Who has another key, that of the other swarm or what the item itself shows, opens none.
    const others = swarmKeys.filter((_, other) => other !== index)
    const shown = items.flatMap(({ k }) => (k ? [k] : []))
    const places = [...others, ...shown].flatMap(placesOf)
    for (const item of items) assert.deepEqual(namedIn(item, places), [])
    assertRandom(items.map(({ v }) => v))
  }
  assert.equal(itemsBySwarm.flat().length, kept.length)
}

/** As many ones as zeros, and no eight bytes twice, but in copies of one value. */
function assertRandom(values: readonly Buffer[]): void {
  const different = [...new Set(values.map((value) => value.toString('hex')))]
  const blocks = different.flatMap((hex) => hex.match(/.{16}/g) ?? [])
  assert.equal(new Set(blocks).size, blocks.length)
  for (const hex of different) {
    const bits = [...Buffer.from(hex, 'hex')].map(
      (byte) => byte.toString(2).replaceAll('0', '').length,
    )
    const share = bits.reduce((sum, count) => sum + count, 0) / (8 * SEALED_LIST_BYTES)
    // Six times the standard deviation of so many tosses.
    assert.ok(Math.abs(share - 0.5) < 6 * Math.sqrt(0.25 / (8 * SEALED_LIST_BYTES)), `${share}`)
  }
}
