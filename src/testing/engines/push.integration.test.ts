/** Every client that pushes images pushes to the node of its host; another host has the same image at once. */
import assert from 'node:assert/strict'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { mustSucceed, run } from '../lab/child.ts'
import { startContainerd } from '../lab/containerd.ts'
import { LAB_ENVIRONMENT } from '../lab/debian-programs.ts'
import type { DockerEngine } from '../lab/docker-engine.ts'
import { buildQuickImage, runImage } from '../lab/images.ts'
import { openLabDirectory } from '../lab/lab-directory.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import type { NetworkHost } from '../lab/network.ts'
import { openPodman } from '../lab/podman.ts'
import { servedImage } from '../lab/served-images.ts'
import { skopeoCopy, skopeoManifest } from '../lab/skopeo.ts'
import { openStations } from '../lab/stations.ts'
import { digestOf } from '../../oci/digest.ts'

const DOOR = '127.0.0.1:5151'

test('what a client pushes to its node is on another host at once', async (t) => {
  const needed = ['root', 'network', 'docker-gd', 'docker-ctr', 'busybox'] as const
  const tools = ['podman', 'skopeo', 'buildah', 'containerd', 'current'] as const
  if (!requireLab(t, [...needed, ...tools])) return
  await using stations = await openStations([
    { name: 'classic', engine: 'gd' },
    { name: 'current', engine: 'ctr' },
    { name: 'tools' },
  ])
  const [classic, current] = [stations.engineAt('classic'), stations.engineAt('current')]
  const { host, node } = stations.at('tools')

  await t.test('docker push of a classic Docker, docker pull of a current one', async () => {
    const id = await pushBuilt(classic.engine, 'local/lab/classic:1')
    await current.engine.dockerOk(['pull', `${DOOR}/local/lab/classic:1`])
    const image = await servedImage(current.node, 'local/lab/classic', '1')
    assert.equal(image.manifest.config.digest, id)
    assert.equal(await idOf(current.engine, 'local/lab/classic:1'), image.rootDigest)
    assert.equal(await runPulled(current.engine, 'local/lab/classic:1'), 'local/lab/classic:1')
  })

  await t.test('docker push of a current Docker, docker pull of a classic one', async () => {
    const id = await pushBuilt(current.engine, 'team/current:1')
    await classic.engine.dockerOk(['pull', `${DOOR}/team/current:1`])
    const image = await servedImage(classic.node, 'team/current', '1')
    assert.equal(image.rootDigest, id)
    assert.equal(await idOf(classic.engine, 'team/current:1'), image.manifest.config.digest)
    assert.equal(await runPulled(classic.engine, 'team/current:1'), 'team/current:1')
  })

  await t.test('a second push under the same name is what others get', async () => {
    const id = await pushBuilt(classic.engine, 'local/lab/classic:1', 'newer')
    await current.engine.dockerOk(['pull', `${DOOR}/local/lab/classic:1`])
    const image = await servedImage(current.node, 'local/lab/classic', '1')
    assert.equal(image.manifest.config.digest, id)
    assert.equal(await runPulled(current.engine, 'local/lab/classic:1'), 'newer')
  })

  await t.test('podman push', async () => {
    await using podman = await openPodman({ host })
    const id = await podman.pull(`${DOOR}/local/lab/classic:1`)
    const pushed = `${DOOR}/local/lab/podman:1`
    await podman.podmanOk(['tag', id, pushed])
    await podman.podmanOk(['push', '--tls-verify=false', pushed])
    await classic.engine.dockerOk(['pull', pushed])
    assert.equal(await idOf(classic.engine, 'local/lab/podman:1'), `sha256:${id}`)
  })

  await t.test('skopeo copy, into a repository and between two', async () => {
    const { prefix } = host
    const [from, to] = [`${DOOR}/team/current:1`, `${DOOR}/local/lab/skopeo:1`]
    await using folder = await openLabDirectory('skopeo')
    await skopeoCopy(`docker://${from}`, `oci:${folder.path}:x`, { prefix })
    await skopeoCopy(`oci:${folder.path}:x`, `docker://${to}`, { prefix })
    const manifest = await skopeoManifest(to, { prefix })
    assert.equal(manifest, await skopeoManifest(from, { prefix }))
    await classic.engine.dockerOk(['pull', to])
    const image = await servedImage(classic.node, 'local/lab/skopeo', '1')
    assert.equal(image.rootDigest, digestOf(manifest))
  })

  await t.test('buildah push', async () => {
    const pushed = `${DOOR}/local/lab/buildah:1`
    const digest = await buildahPush(host, pushed)
    await current.engine.dockerOk(['pull', pushed])
    const image = await servedImage(current.node, 'local/lab/buildah', '1')
    assert.equal(image.rootDigest, digest)
    assert.equal(await runImage(current.engine, pushed), 'built')
  })

  await t.test('ctr images push', async () => {
    await using containerd = await startContainerd({ host })
    const [from, to] = [`${DOOR}/team/current:1`, `${DOOR}/local/lab/containerd:1`]
    await containerd.pull(from)
    await containerd.ctrOk(['images', 'push', '--plain-http', to, from])
    await classic.engine.dockerOk(['pull', to])
    const image = await servedImage(classic.node, 'local/lab/containerd', '1')
    assert.equal(image.rootDigest, (await servedImage(node, 'team/current', '1')).rootDigest)
  })

  await t.test('an artifact that is no image, by a current Podman', async () => {
    await using podman = await openPodman({ host, release: 'current' })
    const file = join(podman.configDirectory, 'notes.txt')
    writeFileSync(file, 'nothing to run')
    const pushed = `${DOOR}/local/lab/artifact:1`
    const type = ['--type', 'application/vnd.example.notes']
    await podman.podmanOk(['artifact', 'add', ...type, pushed, file])
    await podman.podmanOk(['artifact', 'push', '--quiet', '--tls-verify=false', pushed])
    await using elsewhere = await openPodman({ host: current.host, release: 'current' })
    await elsewhere.podmanOk(['artifact', 'pull', '--quiet', '--tls-verify=false', pushed])
    const [mine, theirs] = [podman, elsewhere].map((each) =>
      each.podmanOk(['artifact', 'inspect', '--format', '{{.Digest}}', pushed]),
    )
    assert.equal(await mine, await theirs)
  })

  await t.test('what is deleted can be pushed again', async () => {
    const { body } = await node.get('/v2/local/lab/buildah/tags/list')
    assert.deepEqual(JSON.parse(body), { name: 'local/lab/buildah', tags: ['1'] })
    const curl = ['--silent', '--fail', '--request', 'DELETE']
    const url = `http://${DOOR}/v2/local/lab/buildah/manifests/1`
    mustSucceed(await run('curl', [...curl, url], { prefix: host.prefix }), 'curl')
    assert.equal((await node.get('/v2/local/lab/buildah/manifests/1')).status, 404)
    const digest = await buildahPush(host, `${DOOR}/local/lab/buildah:1`)
    assert.equal((await servedImage(current.node, 'local/lab/buildah', '1')).rootDigest, digest)
  })
})

/** Builds an image that prints `message`, and pushes it. @returns the ID that the engine gives it */
async function pushBuilt(
  engine: DockerEngine,
  name: string,
  message: string = name,
): Promise<string> {
  const reference = `${DOOR}/${name}`
  const id = await buildQuickImage(engine, { reference, message })
  await engine.dockerOk(['push', reference])
  return id
}

async function idOf(engine: DockerEngine, name: string): Promise<string> {
  return engine.dockerOk(['image', 'inspect', '--format', '{{.Id}}', `${DOOR}/${name}`])
}

async function runPulled(engine: DockerEngine, name: string): Promise<string> {
  return runImage(engine, `${DOOR}/${name}`)
}

/** Builds an image from scratch with buildah, and pushes it. @returns the digest of its manifest */
async function buildahPush(host: NetworkHost, reference: string): Promise<string> {
  await using folder = await openLabDirectory('buildah')
  const at = (name: string): string => join(folder.path, name)
  copyFileSync('/bin/busybox', at('busybox'))
  writeFileSync(
    at('Dockerfile'),
    'FROM scratch\nCOPY busybox /busybox\nCMD ["/busybox", "echo", "built"]\n',
  )
  const places = ['--root', at('root'), '--runroot', at('run'), '--storage-driver', 'vfs']
  const buildah = async (...args: string[]): Promise<void> => {
    const result = await run('buildah', [...places, ...args], {
      timeoutMs: 120_000,
      prefix: host.prefix,
      env: { ...LAB_ENVIRONMENT, HOME: folder.path },
    })
    mustSucceed(result, `buildah ${args.join(' ')}`)
  }
  await buildah('build', '--quiet', '--isolation', 'chroot', '--tag', reference, folder.path)
  await buildah('push', '--tls-verify=false', '--digestfile', at('digest'), reference)
  const { stdout } = await run('cat', [at('digest')])
  return stdout.trim()
}
