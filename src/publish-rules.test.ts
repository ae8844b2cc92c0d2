/** What may be published, and what stays so. */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { hexOf } from './oci/digest.ts'
import { makeCanary } from './testing/canaries.ts'
import { until } from './testing/dht-testnet.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { openLayoutRegistry, type RegistryGuard } from './testing/layout-registry.ts'
import {
  digestsOf,
  importImage,
  isListening,
  publish,
  publishedNames,
  pull,
  statusOf,
} from './testing/publishing-node.ts'
import { basicGuard } from './testing/registry-guards.ts'
import { openTestnet, writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024

test('what a name means is for this node to say when it is published, not for another member', async () => {
  await using net = await openTestnet()
  const node = await net.start('node')
  const mate = await net.start('mate')
  const own = await importImage(node, 'local/app:1', [5000])
  const other = await writeLayout(join(net.dir, 'other'), [6000])
  await node.run(node.node.operations.import, { path: other.path, name: 'local/secret:1' })
  await mate.run(mate.node.operations.import, { path: other.path, name: 'local/app:1' })
  // the newer record is known here, and what it names is held here
  assert.equal((await pull(node, 'local/app:1')).digest, other.manifest)
  const { images } = await publish(node, ['local/app:1'], { own: true })
  assert.deepEqual(
    images.map(({ digest }) => digest),
    [own.manifest],
  )
})

test('without --own only what its registry gives to everybody is published', async () => {
  await using net = await openTestnet()
  const login = makeCanary('config')
  let guard: RegistryGuard = () => false
  await using registry = await openLayoutRegistry({ guard: (...asked) => guard(...asked) })
  const open = await writeLayout(join(net.dir, 'open'), [2 * MIB])
  const secret = await writeLayout(join(net.dir, 'secret'), [5000])
  await registry.add('team/open', open)
  await registry.add('team/secret', secret)
  const isSecret: RegistryGuard = (request, response) =>
    (request.url ?? '').includes('/secret/') && basicGuard(login)(request, response)
  guard = isSecret
  const dockerConfigFile = join(net.dir, 'config.json')
  const auth = login.basic.slice('Basic '.length)
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.address]: { auth } } }))
  const config = { upstream: true, insecureUpstreams: [registry.address], dockerConfigFile }
  let node = await net.start('node', config)
  for (const repository of ['team/open', 'team/secret']) {
    const door = node.node.ready.registry
    const answers = await pullLikeEngine({ door, repository, ns: registry.address })
    assert.ok(isPulled(answers), summaryOf(answers))
  }
  await importImage(node, 'local/mine:1', [5000])
  await importImage(node, `${registry.address}/team/unknown:1`, [5000])

  const asked = registry.requests.length
  const name = (repository: string) => `${registry.address}/team/${repository}`
  const { images, failed } = await publish(node, [`${name('open')}:1`])
  assert.deepEqual(failed, [])
  assert.equal(images[0]?.digest, open.manifest)
  const questions = registry.requests.slice(asked)
  assert.deepEqual(new Set(questions.map(({ method }) => method)), new Set(['HEAD']))
  assert.equal(questions.length, digestsOf(open).length)
  assert.ok(questions.every(({ authorization }) => authorization === undefined))

  const secretByDigest = `${name('secret')}@${secret.manifest}`
  const refused = ['local/mine:1', `${name('unknown')}:1`, `${name('secret')}:1`, secretByDigest]
  const codes = async () => (await publish(node, refused)).failed.map(({ error }) => error.code)
  const all = refused.map(() => 'PUBLICATION_REFUSED')
  assert.deepEqual(await codes(), all)
  await node.stop()
  node = await net.start('node', config)
  assert.deepEqual(await codes(), all)

  // manifests to everybody, blobs for a login: not for everybody either
  guard = (request, response) =>
    (request.url ?? '').includes('/blobs/') && basicGuard(login)(request, response)
  assert.deepEqual(
    (await publish(node, [`${name('open')}@${open.manifest}`])).failed.map(
      ({ error }) => error.code,
    ),
    ['PUBLICATION_REFUSED'],
  )
  guard = (_, response) => (response.writeHead(503).end(), true)
  assert.deepEqual(
    (await publish(node, [`${name('open')}:1`])).failed.map(({ error }) => error.code),
    ['PUBLICATION_UNPROVEN'],
  )
  guard = isSecret
  const own = await publish(node, [secretByDigest, 'local/mine:1'], { own: true })
  assert.deepEqual(own.failed, [])
  assert.equal((await statusOf(node)).published?.images, 3)
})

test('what a login is needed for meanwhile is withdrawn', async () => {
  await using net = await openTestnet()
  const login = makeCanary('config')
  let guard: RegistryGuard = () => false
  await using registry = await openLayoutRegistry({ guard: (...asked) => guard(...asked) })
  const image = await writeLayout(join(net.dir, 'image'), [2 * MIB])
  await registry.add('team/app', image)
  const dockerConfigFile = join(net.dir, 'config.json')
  const auth = login.basic.slice('Basic '.length)
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.address]: { auth } } }))
  const config = {
    upstream: true,
    insecureUpstreams: [registry.address],
    dockerConfigFile,
    tagFreshness: [{ pattern: '*', ms: 0 }],
  }
  const node = await net.start('node', config)
  const pulls = { door: node.node.ready.registry, repository: 'team/app', ns: registry.address }
  assert.ok(isPulled(await pullLikeEngine(pulls)))
  const { publicNode, failed } = await publish(node, [`${registry.address}/team/app:1`])
  assert.deepEqual(failed, [])
  assert.ok(publicNode)

  guard = basicGuard(login)
  assert.ok(isPulled(await pullLikeEngine(pulls)))
  await until(async () => (await statusOf(node)).published === null)
  assert.deepEqual(await publishedNames(node), [])
  await until(async () => !(await isListening(publicNode.port)))
  await node.stop()
  assert.equal((await statusOf(await net.start('node', config))).published, null)
})

test('what its registry gives to everybody no more is withdrawn within a day, what it does not speak of stays', async () => {
  await using net = await openTestnet()
  let guard: RegistryGuard = () => false
  await using registry = await openLayoutRegistry({ guard: (...asked) => guard(...asked) })
  const image = await writeLayout(join(net.dir, 'image'), [5000])
  await registry.add('team/app', image)
  const config = { upstream: true, insecureUpstreams: [registry.address] }
  let node = await net.start('node', config)
  await pull(node, `${registry.address}/team/app:1`)
  await publish(node, [`${registry.address}/team/app:1`])
  await importImage(node, 'local/mine:1', [5000])
  await publish(node, ['local/mine:1'], { own: true })
  const file = join(node.dataDir, 'public/images', `${hexOf(image.manifest)}.json`)
  const checkedAtMs = async () =>
    (JSON.parse(await readFile(file, 'utf8')) as { checkedAtMs: number }).checkedAtMs
  const startAfter = async (days: number) => {
    await node.stop()
    const text = await readFile(file, 'utf8')
    const then = Date.now() - days * 24 * 3600e3
    await writeFile(file, text.replace(/"checkedAtMs":\d+/, `"checkedAtMs":${Math.round(then)}`))
    const asked = registry.requests.length
    node = await net.start('node', config)
    return asked
  }

  const asked = await startAfter(1.01)
  await until(async () => Date.now() - (await checkedAtMs()) < 60_000)
  const questions = registry.requests.slice(asked)
  assert.equal(questions.length, digestsOf(image).length)
  assert.ok(questions.every(({ method, authorization }) => method === 'HEAD' && !authorization))

  guard = (_, response) => (response.writeHead(503).end(), true)
  const away = await startAfter(1.01)
  await until(() => registry.requests.length > away)
  assert.equal((await statusOf(node)).published?.images, 2)
  guard = basicGuard(makeCanary('config'))
  await startAfter(0.99)
  assert.equal((await statusOf(node)).published?.images, 2)
  await startAfter(1.01)
  await until(async () => (await statusOf(node)).published?.images === 1)
  assert.deepEqual(await publishedNames(node), ['mine:1'])
})
