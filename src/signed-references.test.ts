/**
 * The attacks of TUF (specification, 1.5.2) on what names mean. A member that keeps to no rule mounts each of them on a
 * real node; src/membership/README.md says what the defences are.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'

import { Catalog } from './catalog/catalog.ts'
import { makeNodeIdentity, openNodeIdentity } from './membership/node-identity.ts'
import { parseReferenceRecord, signReferenceRecord } from './membership/reference-record.ts'
import type { SwarmKey } from './membership/swarm-key.ts'
import { digestOf } from './oci/digest.ts'
import { MEDIA_TYPES } from './oci/media-types.ts'
import { manifestOf, openHostileMember } from './testing/hostile-member.ts'
import { transfersAt } from './testing/node-reading.ts'
import { openTestnet, writeLayout, type TestNode } from './testing/testnet.ts'

const NAME = 'docker.io/library/app:1'
const HOUR_MS = 3600e3

test('arbitrary installation: what no member signed, and bytes that nobody signed, mean nothing', async () => {
  await using swarm = await openSwarm()
  const { mallory } = swarm
  const bad = manifestOf('bad')
  mallory.blobs.set(bad.digest, bad.bytes)
  const sound = mallory.sign({ ...bad, name: NAME })
  const stranger = { identity: mallory.identity, swarmKey: randomBytes(32) as SwarmKey }
  const { signature: _, ...unsigned } = sound
  mallory.references = () => [
    unsigned,
    { ...sound, nodeId: makeNodeIdentity().nodeId },
    { ...sound, signature: '0'.repeat(128) },
    { ...sound, digest: manifestOf('other').digest },
    signReferenceRecord({ ...sound }, stranger),
  ]
  const victim = await swarm.start('victim')
  assert.equal(await meaningAt(victim), undefined)
  // as many bytes as were signed, and of another manifest
  mallory.blobs.set(bad.digest, manifestOf('BAD').bytes)
  mallory.references = () => [sound]
  assert.equal(await meaningAt(victim), undefined)
})

test('wrong software: a record counts for the name it was signed for, and on the node that signed it', async () => {
  await using swarm = await openSwarm()
  const { mallory } = swarm
  const bad = manifestOf('bad')
  mallory.blobs.set(bad.digest, bad.bytes)
  const victim = await swarm.start('victim')
  mallory.references = () => [mallory.sign({ ...bad, name: 'docker.io/library/other:1' })]
  assert.equal(await meaningAt(victim), undefined)
  mallory.references = () => []
  assert.equal(await meaningAt(victim, 'local/other'), undefined)
  mallory.references = () => [mallory.sign({ ...bad, name: NAME, nodeName: 'victim' })]
  assert.equal(await meaningAt(victim, 'node/victim/app'), undefined)
  assert.equal(await meaningAt(victim), bad.digest)
})

test('endless data: of answers without end a bounded part is heard, and less is kept', async () => {
  await using swarm = await openSwarm()
  const { mallory } = swarm
  const bad = manifestOf('bad')
  mallory.blobs.set(bad.digest, bad.bytes)
  const victim = await swarm.start('victim')
  const sound = mallory.sign({ ...bad, name: NAME })
  mallory.references = () => [sound, { ...sound, padding: 'x'.repeat(5 * 1024 * 1024) }]
  assert.equal(await meaningAt(victim), undefined)
  mallory.references = () => Array.from({ length: 1025 }, () => sound)
  assert.equal(await meaningAt(victim), undefined)
  mallory.references = () => [mallory.sign({ ...bad, name: NAME, size: 5 * 1024 * 1024 })]
  assert.equal(await meaningAt(victim), undefined)

  // A manifest is asked for by the size that was signed, or it could have any, as a torrent.
  const huge = manifestOf('huge')
  mallory.blobs.set(huge.digest, huge.bytes)
  mallory.claimedBytes = 8 * 1024 * 1024
  mallory.references = () => [mallory.sign({ ...huge, name: 'docker.io/library/huge:1' })]
  assert.equal(await meaningAt(victim, 'local/huge'), undefined)
  assert.deepEqual(await transfersAt(victim.node.ready.registry), [])
  mallory.claimedBytes = undefined

  let sequence = Date.now() - HOUR_MS
  mallory.references = () =>
    Array.from({ length: 100 }, () =>
      mallory.sign(
        { ...bad, name: NAME, sequence: (sequence += 1) },
        { identity: makeNodeIdentity() },
      ),
    )
  const firsts = sequence + 64
  assert.equal(await meaningAt(victim), bad.digest)
  await victim.stop()
  const kept = await recordsOf(victim)
  assert.ok(kept.length <= 64)
  assert.equal(Math.max(...kept.map((record) => record.sequence)), firsts)

  const again = await swarm.restart('victim')
  assert.equal(await meaningAt(again), bad.digest)
  await again.stop()
  assert.ok((await recordsOf(again)).length <= 64)
})

test('fast-forward: a record from the future is refused, and a signer gets over what its thief signed ahead', async () => {
  await using swarm = await openSwarm()
  const { mallory, net } = swarm
  const bad = manifestOf('bad')
  mallory.blobs.set(bad.digest, bad.bytes)
  const good = await writeLayout(join(net.dir, 'good'), [10])
  const honest = await swarm.start('honest')
  await honest.run(honest.node.operations.import, { path: good.path, name: 'app:1' })
  const victim = await swarm.start('victim')
  const identity = await openNodeIdentity(honest.dataDir)
  const ahead = (ms: number) => ({ ...bad, name: NAME, sequence: Date.now() + ms })
  mallory.references = () => [
    mallory.sign(ahead(10 * 60e3)),
    mallory.sign(ahead(10 * 60e3), { identity }),
  ]
  assert.equal(await meaningAt(victim), good.manifest)
  // as far as it is let, with the key of the honest node
  const stolen = mallory.sign(ahead(4 * 60e3), { identity })
  mallory.references = () => [stolen]
  const deceived = await swarm.restart('victim')
  await untilMeans(deceived, bad.digest)
  assert.equal(await meaningAt(honest), good.manifest)
  await untilMeans(await swarm.restart('victim'), good.manifest)
})

test('indefinite freeze: a name that its signer has not confirmed for a day comes with a warning', async (t) => {
  await using swarm = await openSwarm()
  const { mallory, net } = swarm
  const old = await writeLayout(join(net.dir, 'old'), [10])
  const honest = await swarm.start('honest')
  await honest.run(honest.node.operations.import, { path: old.path, name: 'app:1' })
  const victim = await swarm.start('victim')
  assert.equal(await meaningAt(victim), old.manifest)
  assert.equal(await warningAt(victim), undefined)
  const [replayed] = await stopAndRead(honest)
  assert.ok(replayed)
  const startedAtMs = Date.now()

  // The signer moves on, and the victim is shown the past.
  mallory.references = () => [replayed]
  t.mock.timers.enable({ apis: ['Date'], now: startedAtMs + 23 * HOUR_MS })
  assert.equal(await warningAt(victim), undefined)
  t.mock.timers.setTime(startedAtMs + 25 * HOUR_MS)
  assert.match((await warningAt(victim)) ?? '', /nobody has confirmed since \d{4}-/)

  await swarm.restart('honest')
  const again = await swarm.restart('victim')
  await until(() => warningAt(again), undefined)
  assert.equal(await meaningAt(again), old.manifest)
})

test('malicious mirror: quick peers with an old answer, garbage or a lie about the size keep nothing out', async () => {
  await using swarm = await openSwarm()
  await using relay = await openHostileMember(swarm.net.swarmKey, 'slow')
  const { mallory } = swarm
  const [old, young] = [manifestOf('old'), manifestOf('young')]
  const signer = { identity: makeNodeIdentity() }
  const records = [old, young].map((manifest, at) =>
    mallory.sign({ ...manifest, name: NAME, sequence: Date.now() - 10 + at }, signer),
  )
  for (const { digest, bytes } of [old, young]) relay.blobs.set(digest, bytes)
  const victim = await swarm.start('victim', [relay.discovery])

  // Longer than a peer that was quick leaves the others: its answer comes too late for the first who asks.
  relay.waitMs = 500
  relay.references = () => [{}, records[1]]
  mallory.references = () => [{}, 'garbage', { ...records[0], digest: young.digest }]
  assert.equal(await meaningAt(victim), young.digest)

  const newer = manifestOf('newer')
  relay.blobs.set(newer.digest, newer.bytes)
  const newest = mallory.sign({ ...newer, name: NAME }, signer)
  relay.references = () => [newest]
  mallory.references = () => [records[0]]
  mallory.blobs.set(newer.digest, newer.bytes)
  mallory.claimedBytes = 2 ** 20
  await untilMeans(victim, newer.digest)
})

test('mix-and-match: a record holds together, and what is below an index is what the index says', async () => {
  await using swarm = await openSwarm()
  const { mallory, net } = swarm
  const swarmKey = Buffer.from(net.swarmKey, 'hex') as SwarmKey
  const [old, young] = [manifestOf('old'), manifestOf('of the young')]
  const before = mallory.sign({ ...old, name: NAME, sequence: Date.now() - 5 })
  const after = mallory.sign(
    {
      ...young,
      name: 'docker.io/library/app:2',
      mediaType: MEDIA_TYPES.ociIndex,
      nodeName: 'other',
    },
    { nowMs: Date.now() - 1000 },
  )
  for (const field of Object.keys(before) as (keyof typeof before)[]) {
    if (before[field] === after[field]) continue
    const mixed = { ...before, [field]: after[field] }
    assert.throws(
      () => parseReferenceRecord(mixed, { swarmKeys: [swarmKey] }),
      { code: 'RECORD_INVALID' },
      field,
    )
  }

  const { ociIndex: mediaType, ociManifest } = MEDIA_TYPES
  const manifests = [{ mediaType: ociManifest, digest: young.digest, size: old.size }]
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }))
  const digest = digestOf(index)
  mallory.blobs.set(digest, index)
  // the manifest of before, under the digest that the new index names
  mallory.blobs.set(young.digest, old.bytes)
  mallory.references = () => [mallory.sign({ name: NAME, digest, mediaType, size: index.length })]
  const victim = await swarm.start('victim')
  assert.equal(await meaningAt(victim), digest)
  const child = await victim.get(`/v2/local/app/manifests/${young.digest}`)
  assert.notEqual(child.status, 200)
})

test('rollback: a name never goes back, not after a restart, nor without the catalog', async () => {
  await using swarm = await openSwarm()
  const { mallory, net } = swarm
  const [old, young] = [
    await writeLayout(join(net.dir, 'old'), [10]),
    await writeLayout(join(net.dir, 'young'), [20]),
  ]
  const honest = await swarm.start('honest')
  await honest.run(honest.node.operations.import, { path: old.path, name: 'app:1' })
  const victim = await swarm.start('victim')
  assert.equal(await meaningAt(victim), old.manifest)
  const [replayed] = await stopAndRead(honest)
  assert.ok(replayed)
  const back = await swarm.restart('honest')
  await back.run(back.node.operations.import, { path: young.path, name: 'app:1' })
  await untilMeans(await swarm.restart('victim'), young.manifest)
  await back.stop()

  mallory.references = () => [replayed]
  const restarted = await swarm.restart('victim')
  assert.equal(await meaningAt(restarted), young.manifest)
  await restarted.stop()
  await rm(join(restarted.dataDir, 'catalog'), { recursive: true })
  assert.equal(await meaningAt(await swarm.restart('victim')), young.manifest)
})

test('key compromise: a signer that was forgotten says nothing any more, not through others either', async () => {
  await using swarm = await openSwarm()
  const { mallory, net } = swarm
  const bad = manifestOf('bad')
  mallory.blobs.set(bad.digest, bad.bytes)
  const good = await writeLayout(join(net.dir, 'good'), [10])
  const honest = await swarm.start('honest')
  await honest.run(honest.node.operations.import, { path: good.path, name: 'app:1' })
  mallory.references = () => [mallory.sign({ ...bad, name: NAME })]
  const victim = await swarm.start('victim')
  await untilMeans(victim, bad.digest)
  // which hands it on from now on
  await untilMeans(honest, bad.digest)
  await victim.stop()
  {
    await using catalog = await openCatalog(victim)
    await catalog.forgetSigner(mallory.identity.nodeId)
    assert.deepEqual(
      (await catalog.references(NAME)).filter(({ nodeId }) => nodeId === mallory.identity.nodeId),
      [],
    )
  }
  await rm(join(victim.dataDir, 'catalog'), { recursive: true })
  assert.equal(await meaningAt(await swarm.restart('victim')), good.manifest)
  assert.equal(await meaningAt(await swarm.restart('victim')), good.manifest)
})

/** A swarm of real nodes, of which each knows those before it, and the hostile one. */
async function openSwarm() {
  await using resources = new AsyncDisposableStack()
  const net = resources.use(await openTestnet())
  const mallory = resources.use(await openHostileMember(net.swarmKey))
  const known = new Map<string, string>()
  const running = new Map<string, TestNode>()
  const opened = resources.move()
  const start = async (nodeName: string, others: readonly string[] = []): Promise<TestNode> => {
    const neighbours = [...known].flatMap(([name, address]) => (name === nodeName ? [] : address))
    const discovery = [mallory.discovery, ...neighbours, ...others]
    const started = await net.start(nodeName, { discovery })
    known.set(nodeName, `static:127.0.0.1:${started.node.ready.peerPort}`)
    running.set(nodeName, started)
    return started
  }
  return {
    net,
    mallory,
    start,
    /** A node begins anew, with what it has on disk. */
    async restart(nodeName: string): Promise<TestNode> {
      await running.get(nodeName)?.stop()
      return await start(nodeName)
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

async function headAt(node: TestNode, repository: string): Promise<Headers> {
  return (await node.get(`/v2/${repository}/manifests/1`, { method: 'HEAD' })).headers
}

/** What a client is told that the name means. */
async function meaningAt(node: TestNode, repository = 'local/app'): Promise<string | undefined> {
  return (await headAt(node, repository)).get('docker-content-digest') ?? undefined
}

async function warningAt(node: TestNode): Promise<string | undefined> {
  return (await headAt(node, 'local/app')).get('warning') ?? undefined
}

async function untilMeans(node: TestNode, digest: string): Promise<void> {
  await until(() => meaningAt(node), digest)
}

/** Each question takes a moment, and what is heard late counts for the next. */
async function until(ask: () => Promise<unknown>, wanted: unknown): Promise<void> {
  let answer: unknown
  for (let attempt = 0; attempt < 12; attempt += 1) {
    answer = await ask()
    if (answer === wanted) return
    await delay(250)
  }
  assert.equal(answer, wanted)
}

function openCatalog({ dataDir }: TestNode): Promise<Catalog> {
  return Catalog.open({ path: join(dataDir, 'catalog'), recordsPath: join(dataDir, 'records') })
}

async function recordsOf(stopped: TestNode) {
  await using catalog = await openCatalog(stopped)
  return await catalog.references(NAME)
}

/** What a node says of the name, as somebody heard it who kept it for later. */
async function stopAndRead(node: TestNode) {
  await node.stop()
  return await recordsOf(node)
}
