/** Podman, skopeo and containerd pull what a classic Docker holds, through a node on their host. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { digestOf } from '../../oci/digest.ts'
import { startContainerd } from '../lab/containerd.ts'
import { buildStandardImage } from '../lab/images.ts'
import { openLabDirectory } from '../lab/lab-directory.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { openPodman } from '../lab/podman.ts'
import { assertLayersFromPeers, servedImage } from '../lab/served-images.ts'
import { skopeoCopy, skopeoManifest } from '../lab/skopeo.ts'
import { openStations } from '../lab/stations.ts'

const IMAGE = 'lab/standard:1'
const PULLED = '127.0.0.1:5151/local/lab/standard:1'

test('other engines and clients pull from a classic Docker', async (t) => {
  const needed = ['root', 'network', 'docker-gd', 'debian-tree'] as const
  if (!requireLab(t, [...needed, 'podman', 'skopeo', 'containerd'])) return
  await using stations = await openStations([
    { name: 'docker', engine: 'gd' },
    { name: 'podman' },
    { name: 'skopeo' },
    { name: 'containerd' },
  ])
  const docker = stations.engineAt('docker')
  const id = await buildStandardImage(docker.engine, { reference: IMAGE, incompressibleMib: 8 })
  await docker.node.cliJson(['seed', IMAGE])
  const image = await servedImage(docker.node, 'local/lab/standard', '1')
  assert.equal(image.manifest.config.digest, id)

  await t.test('Podman pulls it, all from peers, and runs it', async () => {
    const { host, node } = stations.at('podman')
    await using podman = await openPodman({ host })
    assert.equal(`sha256:${await podman.pull(PULLED)}`, id)
    await assertLayersFromPeers(node, image)
    assert.equal(await podman.podmanOk(['run', '--rm', '--network', 'none', PULLED]), IMAGE)
  })

  await t.test('skopeo copies it byte for byte, all from peers', async () => {
    const { host, node } = stations.at('skopeo')
    const { prefix } = host
    const manifest = await skopeoManifest(PULLED, { prefix })
    assert.equal(digestOf(Buffer.from(manifest)), image.rootDigest)
    await using directory = await openLabDirectory('copied')
    await skopeoCopy(`docker://${PULLED}`, `dir:${directory.path}`, { prefix })
    await assertLayersFromPeers(node, image)
    const copied = ['manifest.json', ...image.digests.slice(1).map((digest) => digest.slice(7))]
    assert.deepEqual(
      copied.map((name) => digestOf(readFileSync(join(directory.path, name)))),
      image.digests,
    )
  })

  await t.test('containerd pulls it with ctr, all from peers, and runs it', async () => {
    const { host, node } = stations.at('containerd')
    await using containerd = await startContainerd({ host })
    await containerd.pull(PULLED)
    await assertLayersFromPeers(node, image)
    const targets = await containerd.ctrOk(['images', 'list', `name==${PULLED}`])
    assert.ok(targets.includes(image.rootDigest), targets)
    assert.equal(await containerd.ctrOk(['run', '--rm', PULLED, 'lab']), IMAGE)
  })
})
