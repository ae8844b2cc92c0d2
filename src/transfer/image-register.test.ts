import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'

import { Catalog } from '../catalog/catalog.ts'
import type { Rendezvous } from '../discovery/discovery.ts'
import { makeNodeIdentity } from '../membership/node-identity.ts'
import { parseReferenceRecord, signReferenceRecord } from '../membership/reference-record.ts'
import { RendezvousKeys, type RendezvousKey } from '../membership/rendezvous-key.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { canonicalName, parseReference } from '../oci/reference.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { ImageRegister } from './image-register.ts'

const HOUR_MS = 3600e3
const name = parseReference('local/app:1')
const canonical = canonicalName(name)
const manifest = { digest: digestOf('a'), mediaType: MEDIA_TYPES.ociManifest, size: 1 }
const { signal } = new AbortController()

test('confirms what it says before that ends, and changes nothing else in it', async (t) => {
  await using place = await openPlace()
  const { register, catalog } = place
  const startMs = Date.now()
  await register.addName(name, manifest)
  const [first] = await catalog.references(canonical)
  const other = { ...place, identity: makeNodeIdentity() }
  const foreign = { ...manifest, name: canonical, sequence: startMs, nodeName: 'other' }
  await catalog.putReference(signReferenceRecord(foreign, other))
  await register.confirmNames({ signal })
  t.mock.timers.enable({ apis: ['Date'], now: startMs + 13 * HOUR_MS })
  await register.confirmNames({ signal })
  const records = await catalog.references(canonical)
  const own = records.find(({ nodeId }) => nodeId === place.identity.nodeId)
  assert.ok(own && first)
  assert.equal(own.expiresAtMs, startMs + 37 * HOUR_MS)
  assert.deepEqual([own.sequence, own.digest], [first.sequence, first.digest])
  const others = records.find(({ nodeId }) => nodeId === other.identity.nodeId)
  assert.ok(others && others.expiresAtMs < startMs + 25 * HOUR_MS)
})

test('signs again under the key of the swarm what it signed under another', async (t) => {
  await using place = await openPlace()
  await place.register.addName(name, manifest)
  const swarmKey = randomBytes(32) as SwarmKey
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 1 })
  await registerOf({ ...place, swarmKey }).confirmNames({ signal })
  const [own] = await place.catalog.references(canonical)
  assert.deepEqual(parseReferenceRecord(own, { swarmKeys: [swarmKey] }), own)
})

test('is announced under the new key alone when the swarm has changed it', async () => {
  await using place = await openPlace()
  const [old, next] = [place.swarmKey, newKey()]
  const swarmKeys = new SwarmKeys(old)
  const announced = new Set<RendezvousKey>()
  const discovery: Rendezvous = {
    announce: (key) => announced.add(key),
    withdraw: (key) => announced.delete(key),
    findPeers: async function* () {},
  }
  const register = registerOf({ ...place, swarmKeys, discovery })
  await register.announceAll()
  await register.addImage({ ...manifest, blobs: [], addedAtMs: 0 })
  await register.addName(name, manifest)
  const before = new RendezvousKeys(new SwarmKeys(old))
  const placesOf = (keys: RendezvousKeys) =>
    new Set([keys.nodes, keys.image(manifest.digest), keys.reference(canonical)])
  assert.deepEqual(announced, placesOf(before))
  const state = { former: [], metAtMs: new Map(), revoked: new Set<string>() }
  swarmKeys.set({ ...state, current: next, accepted: [next, old] })
  await register.reannounce(before)
  assert.deepEqual(announced, placesOf(new RendezvousKeys(new SwarmKeys(next))))
})

test('gets over a record of its own that it did not make, where it says anything', async () => {
  await using place = await openPlace()
  const { register, catalog } = place
  const sequence = Date.now() + 60_000
  const stolen = signReferenceRecord(
    { ...manifest, digest: digestOf('b'), name: canonical, sequence, nodeName: 'node' },
    place,
  )
  await register.contradict(stolen)
  assert.deepEqual(await catalog.references(canonical), [])
  await register.addName(name, manifest)
  await register.contradict(stolen)
  const [own] = await catalog.references(canonical)
  assert.equal(own?.digest, manifest.digest)
  assert.ok(own.sequence > sequence)
  await register.contradict(stolen)
  assert.deepEqual(await catalog.references(canonical), [own])
})

async function openPlace() {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await tempDir())
  const store = stack.use(await DiskBlobStore.open({ dataDir: path }))
  const places = { path: join(path, 'catalog'), recordsPath: join(path, 'records') }
  const catalog = stack.use(await Catalog.open(places))
  const parts = { store, catalog, identity: makeNodeIdentity(), swarmKey: newKey() }
  const opened = stack.move()
  return {
    ...parts,
    register: registerOf(parts),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

function newKey(): SwarmKey {
  return randomBytes(32) as SwarmKey
}

function registerOf({
  store,
  catalog,
  identity,
  swarmKey,
  swarmKeys = new SwarmKeys(swarmKey),
  discovery,
}: Pick<ConstructorParameters<typeof ImageRegister>[0], 'store' | 'catalog' | 'identity'> & {
  swarmKey: SwarmKey
  swarmKeys?: SwarmKeys
  discovery?: Rendezvous
}) {
  return new ImageRegister({
    store,
    catalog,
    identity,
    swarmKeys,
    keys: new RendezvousKeys(swarmKeys),
    nodeName: 'node',
    ...(discovery && { discovery }),
    isPublic: false,
    access: { isPrivate: async () => false },
  })
}
