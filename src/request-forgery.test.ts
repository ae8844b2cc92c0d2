import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { digestOf, hexOf } from './oci/digest.ts'
import { openLayoutRegistry, type RegistryGuard } from './testing/layout-registry.ts'
import { makeCanary } from './testing/canaries.ts'
import { realmGuard, redirectGuard } from './testing/registry-guards.ts'
import {
  openTestnet,
  writeLayout,
  type LayoutFixture,
  type TestNode,
  type Testnet,
} from './testing/testnet.ts'

/** Something on this host that trusts its neighbours: whoever connects is noticed. */
interface Bystander extends AsyncDisposable {
  readonly port: number
  connections(): number
}

const QUICK_MS = 4000
/** What trusts its neighbours, by names that do not look like it at first sight. */
const LOOPBACK_NAMES = [
  '127.0.0.1',
  '127.1.2.3',
  'localhost',
  '[::1]',
  '0.0.0.0',
  '[::]',
  '[::ffff:127.0.0.1]',
]
const OTHER_NAMES = [
  '169.254.169.254',
  '169.254.1.1',
  '[fe80::1]',
  '[fd00:ec2::254]',
  '100.100.100.200',
  'metadata.google.internal',
  '2130706433',
  '0x7f.1',
  '017700000001',
  'localhost.',
]

describe('a node is nobody’s way to what is on its own host', { concurrency: 8 }, () => {
  const resources = new AsyncDisposableStack()
  let net: Testnet
  let node: TestNode
  let bystander: Bystander
  let image: LayoutFixture
  /** ports of registries that the node may ask, by what they do */
  const registries = new Map<string, string>()
  const images = new Map<string, LayoutFixture>()

  before(async () => {
    net = resources.use(await openTestnet())
    bystander = resources.use(await openBystander())
    image = await writeLayout(join(net.dir, 'image'), [2_000_000, 3000])
    const elsewhere = `http://127.0.0.1:${bystander.port}`
    const guards: Record<string, RegistryGuard> = {
      realm: realmGuard(`${elsewhere}/token`),
      'realm by name': realmGuard(`http://localhost:${bystander.port}/token`),
      'realm of metadata': realmGuard('http://169.254.169.254/token'),
      redirect: redirectGuard(() => false, elsewhere),
      'redirect by name': redirectGuard(() => false, `http://localhost:${bystander.port}`),
      'redirect to metadata': redirectGuard(() => false, 'http://169.254.169.254'),
      'redirect of everything': redirectAll(elsewhere),
    }
    for (const [name, guard] of Object.entries(guards)) {
      const registry = resources.use(await openLayoutRegistry({ guard }))
      const own = await writeLayout(join(net.dir, name), [2_000_000, 3000])
      await registry.add('app', own)
      images.set(name, own)
      registries.set(name, registry.address)
    }
    const foreign = resources.use(await openLayoutRegistry())
    await foreign.add(
      'app',
      await writeForeignLayout(join(net.dir, 'foreign'), `${elsewhere}/layer`),
    )
    registries.set('foreign', foreign.address)
    const { username, password } = makeCanary('login')
    const auth = Buffer.from(`${username}:${password}`).toString('base64')
    const dockerConfigFile = join(net.dir, 'config.json')
    const auths = Object.fromEntries([...registries.values()].map((name) => [name, { auth }]))
    await writeFile(dockerConfigFile, JSON.stringify({ auths }))
    node = await net.start('node', {
      upstream: true,
      insecureUpstreams: [...registries.values()],
      dockerConfigFile,
    })
  })
  after(() => resources.disposeAsync())

  for (const host of [...LOOPBACK_NAMES, ...OTHER_NAMES]) {
    test(`ns=${host} is refused`, async () => {
      const places = [`${host}:${bystander.port}`, host]
      await assertAllRefused(
        places.flatMap((place) =>
          pathsOf('/v2/app').map((path) => `${path}?ns=${encodeURIComponent(place)}`),
        ),
      )
      assert.equal(bystander.connections(), 0)
    })
  }

  test('the same by the first component of a name', async () => {
    const hosts = ['127.0.0.1', 'localhost', '169.254.169.254']
    await assertAllRefused(hosts.flatMap((host) => pathsOf(`/v2/${host}__${bystander.port}/app`)))
    assert.equal(bystander.connections(), 0)
  })

  test('an address of this host that is not loopback is asked no more than a registry would be', async (t) => {
    const address = ownAddress()
    if (address === undefined) return t.skip('this host has no other address')
    const door = `${address}:${node.node.ready.registry.split(':')[1] ?? ''}`
    await assertAllRefused([`/v2/app/manifests/1?ns=${door}`])
  })

  for (const way of ['realm', 'realm by name', 'realm of metadata', 'redirect of everything']) {
    test(`${way}: a registry that may be asked does not lead there`, async () => {
      const ns = registries.get(way) ?? ''
      await assertAllRefused(pathsOf('/v2/app', images.get(way)).map((path) => `${path}?ns=${ns}`))
      assert.equal(bystander.connections(), 0)
    })
  }

  for (const way of ['redirect', 'redirect by name', 'redirect to metadata']) {
    test(`${way}: nor does one of its blobs`, async () => {
      const ns = registries.get(way) ?? ''
      assert.equal((await node.get(`/v2/app/manifests/1?ns=${ns}`)).status, 200)
      const { config, layers = [] } = images.get(way) ?? {}
      const blobs = [config ?? '', ...layers.map(({ digest }) => digest)]
      await assertAllRefused(blobs.map((digest) => `/v2/app/blobs/${digest}?ns=${ns}`))
      assert.equal(bystander.connections(), 0)
    })
  }

  test('the urls of a foreign layer are not gone to', async () => {
    const ns = registries.get('foreign') ?? ''
    const manifest = await node.get(`/v2/app/manifests/1?ns=${ns}`)
    assert.equal(manifest.status, 200)
    const { layers } = (await manifest.json()) as { layers: { digest: string; urls?: string[] }[] }
    assert.equal(layers[0]?.urls?.length, 1)
    await assertAllRefused([`/v2/app/blobs/${layers[0].digest}?ns=${ns}`])
    const reference = `${ns}/app:1`
    await assert.rejects(node.run(node.node.operations.pull, { reference, load: false }))
    assert.equal(bystander.connections(), 0)
  })

  test('warm-up and pull refuse such names too', async () => {
    for (const host of ['127.0.0.1', 'localhost', '169.254.169.254']) {
      const reference = `${host}:${bystander.port}/app:1`
      await assert.rejects(node.run(node.node.operations.pull, { reference, load: false }))
    }
    assert.equal(bystander.connections(), 0)
  })

  test('what was configured is asked', async () => {
    const other = resources.use(await openBystander())
    const named = await net.start('named', {
      upstream: true,
      insecureUpstreams: [`127.0.0.1:${other.port}`],
    })
    await named.get(`/v2/app/manifests/1?ns=127.0.0.1:${other.port}`)
    assert.ok(other.connections() > 0)
  })

  async function assertAllRefused(paths: readonly string[]): Promise<void> {
    const startedMs = performance.now()
    const answers = await Promise.all(paths.map((path) => node.get(path)))
    // What is no name of a host at all is a bad request.
    const others = answers.filter(({ status }) => status !== 404 && status !== 400)
    assert.deepEqual(
      others.map(({ url, status }) => `${url}: ${status}`),
      [],
    )
    assert.ok(performance.now() - startedMs < QUICK_MS)
  }

  function pathsOf(name: string, { manifest } = image): string[] {
    return [
      `${name}/manifests/1`,
      `${name}/manifests/${manifest}`,
      `${name}/tags/list`,
      `${name}/blobs/${digestOf(Buffer.from(name))}`,
    ]
  }
})

async function openBystander(): Promise<Bystander> {
  let count = 0
  const server = createServer((socket) => {
    count += 1
    socket.destroy()
  })
  server.listen(0, '::')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => count,
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
}

function redirectAll(base: string): RegistryGuard {
  return ({ url = '' }, response) => {
    response.writeHead(307, { Location: `${base}${url}` })
    response.end()
    return true
  }
}

/** An image whose layer is not in the registry, but where its descriptor says (image-spec, descriptor.md, urls). */
async function writeForeignLayout(path: string, url: string): Promise<LayoutFixture> {
  await mkdir(path, { recursive: true })
  const image = await writeLayout(path, [1000])
  const folder = join(path, 'blobs/sha256')
  const manifest = JSON.parse(await readFile(join(folder, hexOf(image.manifest)), 'utf8')) as {
    layers: object[]
  }
  const absent = { digest: digestOf(Buffer.from(url)), size: 1000, urls: [url] }
  const mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
  const bytes = Buffer.from(JSON.stringify({ ...manifest, layers: [{ mediaType, ...absent }] }))
  await writeFile(join(folder, hexOf(digestOf(bytes))), bytes)
  return { ...image, manifest: digestOf(bytes) }
}

function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses)
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address
}
