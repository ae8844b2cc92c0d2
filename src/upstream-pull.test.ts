import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import { Digester } from './oci/digest.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { openFaultProxy } from './testing/fault-proxy.ts'
import { openLayoutRegistry } from './testing/layout-registry.ts'
import { transfersAt } from './testing/node-reading.ts'
import { openTestnet, writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024
const LAYERS = [3 * MIB, 20_000, 0]
const ALL_BYTES = LAYERS.reduce((sum, size) => sum + size, 0)

test('the first node pulls from upstream, the second from the first', async () => {
  await using net = await openTestnet()
  await using registry = await openLayoutRegistry()
  await using proxy = await openFaultProxy({ target: registry.address })
  await registry.add('team/app', await writeLayout(join(net.dir, 'image'), LAYERS))
  const config = { upstream: true, insecureUpstreams: [proxy.address] }
  const pull = { repository: 'team/app', tag: '1', ns: proxy.address }

  const first = await net.start('first', config)
  const cold = await pullLikeEngine({ ...pull, door: first.node.ready.registry })
  assert.ok(isPulled(cold), summaryOf(cold))
  const asked = proxy.count({ what: 'blob', method: 'GET' })
  assert.equal(asked, LAYERS.length + 1)
  const fromUpstream = await layerBytes(first.node.ready.registry)
  assert.deepEqual(fromUpstream, { store: 0, peers: 0, upstream: ALL_BYTES })

  const second = await net.start('second', config)
  const warm = await pullLikeEngine({ ...pull, door: second.node.ready.registry })
  assert.ok(isPulled(warm), summaryOf(warm))
  assert.equal(proxy.count({ what: 'blob', method: 'GET' }), asked)
  const fromPeers = await layerBytes(second.node.ready.registry)
  assert.deepEqual(fromPeers, { store: 0, peers: ALL_BYTES, upstream: 0 })

  const reference = `${proxy.address}/team/app:1`
  const told = await second.run(second.node.operations.explain, { reference })
  assert.equal(told.blobs.length, 1 + 1 + LAYERS.length)
  assert.equal(told.bytes.upstream + told.bytes.store, 0)
  for (const { state, peers, size, ms } of told.blobs) {
    // The last bytes go out before the disk has them.
    assert.ok(state === 'done' || state === 'moving', state)
    assert.ok(ms !== null)
    if (size > 0)
      assert.deepEqual(
        peers.map(({ nodeName }) => nodeName),
        ['first'],
      )
  }

  // Without upstream the newest signed record says what the name means, and the answer says so.
  await proxy.set({ kind: 'refused', on: 'all' })
  const third = await net.start('third', config)
  const offline = await pullLikeEngine({ ...pull, door: third.node.ready.registry })
  assert.ok(isPulled(offline), summaryOf(offline))
  const { headers } = await third.get(`/v2/team/app/manifests/1?ns=${proxy.address}`)
  assert.match(headers.get('Warning') ?? '', /^299 - ".* is what a signed record says: /)
})

test('upstream decides what a tag means for as long as it answers', async () => {
  await using net = await openTestnet()
  await using registry = await openLayoutRegistry()
  await using proxy = await openFaultProxy({ target: registry.address })
  const [old, fresh] = [
    await writeLayout(join(net.dir, 'old'), [1000]),
    await writeLayout(join(net.dir, 'fresh'), [2000]),
  ]
  await registry.add('team/app', old)
  const config = { upstream: true, insecureUpstreams: [proxy.address] }
  const [strict, lazy] = [
    await net.start('strict', { ...config, tagFreshness: [{ pattern: '*', ms: 0 }] }),
    await net.start('lazy', { ...config, tagFreshness: [{ pattern: '*/team/*:1', ms: 60_000 }] }),
  ]
  const path = `/v2/team/app/manifests/1?ns=${proxy.address}`
  const digestAt = async (node: typeof strict) =>
    (await node.get(path, { method: 'HEAD' })).headers.get('Docker-Content-Digest')
  assert.deepEqual([await digestAt(strict), await digestAt(lazy)], [old.manifest, old.manifest])
  await registry.add('team/app', fresh)
  assert.deepEqual([await digestAt(strict), await digestAt(lazy)], [fresh.manifest, old.manifest])
  await proxy.set({ kind: 'missing', on: 'all' })
  // The swarm's record stands in also for a name that upstream does not have any more.
  assert.equal(await digestAt(strict), fresh.manifest)
})

test('layers above the first one that is asked for are fetched ahead, those below are not', async () => {
  await using net = await openTestnet()
  await using registry = await openLayoutRegistry()
  const image = await writeLayout(
    join(net.dir, 'image'),
    [1, 2, 3, 4, 5, 6].map((factor) => factor * 100_000),
  )
  await registry.add('team/app', image)
  const node = await net.start('node', { upstream: true, insecureUpstreams: [registry.address] })
  const query = `?ns=${registry.address}`
  assert.equal((await node.get(`/v2/team/app/manifests/${image.manifest}${query}`)).status, 200)
  const [, , asked] = image.layers
  const body = await node.get(`/v2/team/app/blobs/${asked?.digest}${query}`)
  await body.arrayBuffer()
  const wanted = image.layers.slice(2).map(({ digest }) => digest)
  await waitUntil(async () => {
    const done = (await transfersAt(node.node.ready.registry)).filter(
      ({ state }) => state === 'done',
    )
    return wanted.every((digest) => done.some((transfer) => transfer.digest === digest))
  })
  const fetched = registry.requests.filter(({ url }) => url.includes('/blobs/'))
  assert.equal(fetched.length, wanted.length)
})

test('when the only peer dies midway, upstream brings the rest into the same answer', async () => {
  await using net = await openTestnet()
  await using registry = await openLayoutRegistry()
  await using proxy = await openFaultProxy({ target: registry.address })
  const image = await writeLayout(join(net.dir, 'image'), [8 * MIB])
  const [layer] = image.layers
  assert.ok(layer)
  await registry.add('team/app', image)
  const config = { upstream: true, insecureUpstreams: [proxy.address] }
  const name = `${proxy.address}/team/app:1`
  const seed = await net.start('seed', { ...config, uploadBytesPerSecond: 2 * MIB })
  await seed.run(seed.node.operations.import, { path: image.path, name })
  const node = await net.start('node', config)
  const query = `?ns=${proxy.address}`
  assert.equal((await node.get(`/v2/team/app/manifests/1${query}`)).status, 200)
  const answer = await node.get(`/v2/team/app/blobs/${layer.digest}${query}`)
  assert.equal(proxy.count({ what: 'blob', method: 'GET' }), 0)
  const digester = new Digester()
  let stopped: Promise<void> | undefined
  for await (const chunk of answer.body ?? []) {
    digester.update(chunk)
    if (digester.bytes > 2 * MIB) stopped ??= seed.stop()
  }
  await stopped
  assert.equal(digester.digest(), layer.digest)
  const [transfer] = await transfersAt(node.node.ready.registry)
  assert.ok(transfer && transfer.bytes.peers > 2 * MIB, JSON.stringify(transfer))
  assert.equal(transfer.bytes.upstream, 8 * MIB - transfer.bytes.peers)
  const [request] = proxy.requests.filter(({ what }) => what === 'blob')
  assert.match(request?.range ?? '', /^bytes=[1-9]\d*-$/)
})

async function waitUntil(isTrue: () => Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + 10_000
  while (!(await isTrue())) {
    assert.ok(Date.now() < deadlineMs, 'it did not come true in ten seconds')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function layerBytes(door: string) {
  const sum = { store: 0, peers: 0, upstream: 0 }
  for (const { bytes, size } of await transfersAt(door)) {
    if (!LAYERS.includes(size)) continue
    for (const source of ['store', 'peers', 'upstream'] as const) sum[source] += bytes[source]
  }
  return sum
}
