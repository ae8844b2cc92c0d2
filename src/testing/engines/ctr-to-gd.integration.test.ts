/** An image of a current Docker, with its compressed layers, in a classic one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildStandardImage, fingerprintImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { assertLayersFromPeers, servedImage } from '../lab/served-images.ts'
import { openStations } from '../lab/stations.ts'

const IMAGE = 'lab/standard:1'
const PULLED = '127.0.0.1:5151/local/lab/standard:1'

test('a classic Docker pulls from a current Docker', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-gd', 'docker-ctr', 'debian-tree'])) return
  await using stations = await openStations([
    { name: 'current', engine: 'ctr' },
    { name: 'classic', engine: 'gd' },
  ])
  const [current, classic] = [stations.engineAt('current'), stations.engineAt('classic')]
  const id = await buildStandardImage(current.engine, { reference: IMAGE, incompressibleMib: 16 })
  await current.node.cliJson(['seed', IMAGE])

  await classic.engine.dockerOk(['pull', PULLED])
  const image = await servedImage(classic.node, 'local/lab/standard', '1')
  // The ID of the containerd store is the digest of the manifest, that of the other the config's.
  assert.equal(image.rootDigest, id)
  const format = ['image', 'inspect', '--format', '{{.Id}}', PULLED]
  assert.equal(await classic.engine.dockerOk(format), image.manifest.config.digest)
  assert.deepEqual(await repoDigests(), [`${PULLED.replace(/:1$/, '')}@${image.rootDigest}`])
  await assertLayersFromPeers(classic.node, image)

  assert.equal(await runImage(classic.engine, PULLED), IMAGE)
  assert.equal(
    await fingerprintImage(classic.engine, PULLED),
    await fingerprintImage(current.engine, IMAGE),
  )

  async function repoDigests(): Promise<unknown> {
    const format = ['image', 'inspect', '--format', '{{json .RepoDigests}}', PULLED]
    return JSON.parse(await classic.engine.dockerOk(format))
  }
})
