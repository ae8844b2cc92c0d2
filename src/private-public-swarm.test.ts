import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { PUBLIC_SWARM_KEY } from './membership/swarm-key.ts'
import { SwarmKeys } from './membership/swarm-keys.ts'
import { PeerClient } from './peering/peer-client.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { makeCanary } from './testing/canaries.ts'
import { openLayoutRegistry } from './testing/layout-registry.ts'
import { basicGuard } from './testing/registry-guards.ts'
import { openTestnet, writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024

test('what needed a credential does not reach the public swarm, what anybody may read does', async () => {
  await using net = await openTestnet()
  const login = makeCanary('config')
  await using open = await openLayoutRegistry()
  await using closed = await openLayoutRegistry({ guard: basicGuard(login) })
  const shared = await writeLayout(join(net.dir, 'shared'), [2 * MIB, 5000])
  const secret = await writeLayout(join(net.dir, 'secret'), [2 * MIB, 5000])
  await open.add('team/app', shared)
  await closed.add('team/app', secret)
  const dockerConfigFile = join(net.dir, 'config.json')
  const auth = login.basic.slice('Basic '.length)
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [closed.address]: { auth } } }))

  const insecureUpstreams = [open.address, closed.address]
  const config = { swarm: 'public', upstream: true, insecureUpstreams } as const
  const holder = await net.start('holder', { ...config, dockerConfigFile })
  for (const { address } of [open, closed]) {
    const pull = { door: holder.node.ready.registry, repository: 'team/app', ns: address }
    const answers = await pullLikeEngine(pull)
    assert.ok(isPulled(answers), summaryOf(answers))
  }

  const stranger = await net.start('stranger', { swarm: 'public' })
  const statusOf = async (digest: string) =>
    (await stranger.get(`/v2/x/y/blobs/${digest}`, { method: 'HEAD' })).status
  const digestsOf = ({ manifest, config: own, layers }: typeof shared) => [
    manifest,
    own,
    ...layers.map(({ digest }) => digest),
  ]
  for (const [image, wanted] of [
    [shared, 200],
    [secret, 404],
  ] as const) {
    const found = await Promise.all(digestsOf(image).map(statusOf))
    assert.deepEqual(new Set(found), new Set([wanted]))
  }
})

test('a mark of private content outlives the catalog', async () => {
  await using net = await openTestnet()
  const login = makeCanary('config')
  await using closed = await openLayoutRegistry({ guard: basicGuard(login) })
  const secret = await writeLayout(join(net.dir, 'secret'), [2 * MIB])
  await closed.add('team/app', secret)
  const dockerConfigFile = join(net.dir, 'config.json')
  const auth = login.basic.slice('Basic '.length)
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [closed.address]: { auth } } }))
  const config = { upstream: true, insecureUpstreams: [closed.address] }
  const first = await net.start('node', { ...config, dockerConfigFile })
  const pull = { repository: 'team/app', ns: closed.address }
  const answers = await pullLikeEngine({ ...pull, door: first.node.ready.registry })
  assert.ok(isPulled(answers), summaryOf(answers))
  await first.stop()

  await rm(join(first.dataDir, 'catalog'), { recursive: true })
  // The login is gone too: nobody has a right to it any more.
  const again = await net.start('node', config)
  for (const name of ['team/app', 'local/team/app']) {
    for (const path of [
      `manifests/${secret.manifest}`,
      ...[secret.config, ...secret.layers.map(({ digest }) => digest)].map((one) => `blobs/${one}`),
    ]) {
      const { status } = await again.get(`/v2/${name}/${path}`)
      assert.equal(status, 404, `${name}/${path}`)
    }
  }
})

test('a node of the public swarm pulls nothing because a stranger orders it', async () => {
  await using net = await openTestnet()
  const holder = await net.start('holder', { swarm: 'public' })
  const image = await writeLayout(join(net.dir, 'image'), [5000])
  await holder.run(holder.node.operations.import, { path: image.path, name: 'local/app:1' })
  const node = await net.start('node', { swarm: 'public' })
  using stranger = new PeerClient(new SwarmKeys(PUBLIC_SWARM_KEY))
  const { nodeId, peerPort } = node.node.ready
  const order = { nodeId, references: ['local/app:1'], load: false, parallel: 1 }
  const reports = await Array.fromAsync(stranger.warm({ host: '127.0.0.1', port: peerPort }, order))
  assert.deepEqual(
    reports.map(({ state, message }) => [state, message]),
    [['failed', 'this node takes no orders']],
  )
  assert.deepEqual(await node.run(node.node.operations.list, {}), { images: [] })
})
