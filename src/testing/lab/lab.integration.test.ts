/** The laboratory itself: whether this machine gives the tests the engines and networks they need. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  createTorrent,
  startAria2,
  startLibtorrent,
  startTransmission,
} from './bittorrent-clients.ts'
import { Child, mustRun, run } from './child.ts'
import { startContainerd } from './containerd.ts'
import { startDockerCtr } from './docker-ctr.ts'
import type { DockerEngine } from './docker-engine.ts'
import { startDockerGd } from './docker-gd.ts'
import { buildQuickImage, buildStandardImage, fingerprintImage, runImage } from './images.ts'
import { openLabDirectory } from './lab-directory.ts'
import { requireLab } from './lab-requirements.ts'
import { hostAt, openNetwork, sweepNetworks } from './network.ts'
import { openPodman } from './podman.ts'
import { startRegistryServer } from './registry-server.ts'
import { skopeoCopy, skopeoManifest } from './skopeo.ts'

const MIB = 1024 * 1024

test('a classic Docker builds and runs the quick image, and survives a kill', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'busybox'])) return
  await using engine = await startDockerGd()
  assert.match(await engine.dockerOk(['info', '--format', '{{.Driver}}']), /^overlay2$/)
  await buildQuickImage(engine, { reference: 'lab/quick:1', message: 'hello' })
  assert.equal(await runImage(engine, 'lab/quick:1'), 'hello')
  await engine.kill()
  await engine.restart()
  assert.equal(await runImage(engine, 'lab/quick:1'), 'hello')
})

test('two current Dockers run side by side in hosts of their own', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-ctr', 'busybox'])) return
  await using network = await openNetwork({ hostCount: 2 })
  await using first = await startDockerCtr({ host: hostAt(network, 0) })
  await using second = await startDockerCtr({ host: hostAt(network, 1) })
  for (const engine of [first, second]) {
    const driver = await engine.dockerOk(['info', '--format', '{{json .DriverStatus}}'])
    assert.match(driver, /io\.containerd\.snapshotter\.v1/)
    await buildQuickImage(engine, { reference: 'lab/quick:1', message: engine.socket })
    assert.equal(await runImage(engine, 'lab/quick:1'), engine.socket)
  }
})

test('the standard image is the same in a classic and in a current Docker', async (t) => {
  if (!requireLab(t, ['root', 'docker-gd', 'docker-ctr', 'debian-tree'])) return
  await using classic = await startDockerGd()
  await using current = await startDockerCtr()
  await buildStandardImage(classic, { reference: 'lab/standard:1', incompressibleMib: 40 })
  await using directory = await openLabDirectory('saved')
  const tar = join(directory.path, 'image.tar')
  await classic.dockerOk(['save', '--output', tar, 'lab/standard:1'])
  await current.dockerOk(['load', '--input', tar])
  assert.ok((await layerCount(classic, 'lab/standard:1')) >= 5)
  const size = await classic.dockerOk(['image', 'inspect', '-f', '{{.Size}}', 'lab/standard:1'])
  assert.ok(Number(size) >= 150_000_000, `${size} bytes`)
  assert.equal(
    await fingerprintImage(current, 'lab/standard:1'),
    await fingerprintImage(classic, 'lab/standard:1'),
  )
})

test('a link of 50 Mbit/s carries about 95 % of its rate', async (t) => {
  if (!requireLab(t, ['root', 'network'])) return
  await using network = await openNetwork({ hostCount: 2, rate: '50mbit' })
  const [server, client] = [hostAt(network, 0), hostAt(network, 1)]
  const serve =
    `const bytes = Buffer.alloc(${12 * MIB}); require('node:net')` +
    `.createServer((socket) => socket.end(bytes)).listen(7000, () => console.log('listening'))`
  const fetch =
    `let bytes = 0, start; require('node:net').connect(7000, '${server.address}')` +
    `.on('data', (chunk) => { start ??= performance.now(); bytes += chunk.length })` +
    `.on('end', () => console.log(bytes * 8000 / (performance.now() - start)))`
  await using child = new Child(process.execPath, ['-e', serve], { prefix: server.prefix })
  await child.waitForLine(/^listening$/)
  const { stdout } = await client.run(process.execPath, ['-e', fetch])
  const share = Number(stdout) / 50e6
  t.diagnostic(`goodput ${(share * 100).toFixed(1)} % of the rate`)
  assert.ok(share > 0.9 && share < 0.98, `${stdout} bit/s`)
})

test('skopeo, Podman, containerd and Docker pull from a real registry on loopback', async (t) => {
  const needed = ['root', 'network', 'docker-gd', 'busybox', 'docker-registry'] as const
  if (!requireLab(t, [...needed, 'skopeo', 'podman', 'containerd'])) return
  await using network = await openNetwork({ hostCount: 1 })
  const host = hostAt(network, 0)
  await using registry = await startRegistryServer({ host, listen: '127.0.0.1:5000' })
  await using docker = await startDockerGd({ host })
  const reference = `${registry.address}/local/quick:1`
  await buildQuickImage(docker, { reference, message: 'pulled' })
  await docker.dockerOk(['push', reference])
  await docker.dockerOk(['image', 'rm', reference])

  const { prefix } = host
  assert.match(await skopeoManifest(reference, { prefix }), /"layers"/)
  await using directory = await openLabDirectory('copied')
  await skopeoCopy(`docker://${reference}`, `oci:${directory.path}/image:1`, { prefix })
  assert.match(readFileSync(join(directory.path, 'image/oci-layout'), 'utf8'), /1\.0\.0/)

  await docker.dockerOk(['pull', reference])
  assert.equal(await runImage(docker, reference), 'pulled')
  await using podman = await openPodman({ host })
  await podman.pull(reference)
  assert.equal(await podman.podmanOk(['run', '--rm', '--network', 'none', reference]), 'pulled')
  await using containerd = await startContainerd({ host })
  await containerd.pull(reference)
  assert.equal(await containerd.ctrOk(['run', '--rm', reference, 'lab']), 'pulled')
})

test('aria2 and Transmission fetch from libtorrent', async (t) => {
  if (!requireLab(t, ['root', 'network', 'libtorrent', 'aria2', 'transmission'])) return
  await using network = await openNetwork({ hostCount: 3 })
  await using directory = await openLabDirectory('torrents')
  const at = (name: string): string => join(directory.path, name)
  for (const name of ['seed', 'aria2', 'transmission']) mkdirSync(at(name))
  const bytes = randomBytes(4 * MIB)
  writeFileSync(at('seed/blob'), bytes)
  await createTorrent(at('seed/blob'), at('blob.torrent'))
  const common = { torrent: at('blob.torrent'), port: 7000 }

  const seed = { ...common, host: hostAt(network, 0), directory: at('seed') }
  await using seeder = await startLibtorrent(seed)
  await seeder.waitForCompletion()
  const peers = [seeder.address]
  const [second, third] = [hostAt(network, 1), hostAt(network, 2)]
  await using aria2 = await startAria2({ ...common, peers, host: second, directory: at('aria2') })
  const last = { ...common, peers, host: third, directory: at('transmission') }
  await using transmission = await startTransmission(last)
  await Promise.all([aria2.waitForCompletion(), transmission.waitForCompletion()])
  assert.ok(readFileSync(at('aria2/blob')).equals(bytes))
  assert.ok(readFileSync(at('transmission/blob')).equals(bytes))
})

test('a killed test process leaves nothing behind after the next sweep', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-gd'])) return
  const script = `
    import { openNetwork, hostAt } from '${import.meta.dirname}/network.ts'
    import { startDockerGd } from '${import.meta.dirname}/docker-gd.ts'
    const network = await openNetwork({ hostCount: 1 })
    const engine = await startDockerGd({ host: hostAt(network, 0) })
    console.log('made ' + hostAt(network, 0).name + ' ' + engine.socket)`
  await using child = new Child(process.execPath, ['--input-type=module', '-e', script])
  const [, name = '', socket = ''] = await child.waitForLine(/^made (\S+) (\S+)$/)
  await child.kill()
  await sweepNetworks()
  assert.ok(!(await mustRun('ip', ['netns', 'list'])).stdout.includes(name))
  const survivors = await run('pgrep', ['-f', socket])
  assert.equal(survivors.stdout, '')
})

async function layerCount(engine: DockerEngine, reference: string): Promise<number> {
  const format = '{{json .RootFS.Layers}}'
  const layers = await engine.dockerOk(['image', 'inspect', '--format', format, reference])
  return (JSON.parse(layers) as string[]).length
}
