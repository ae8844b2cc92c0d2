/** An image of a classic Docker, whose compressed layers are gone, in a current one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contentOf } from '../lab/docker-ctr.ts'
import { buildStandardImage, fingerprintImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { assertLayersFromPeers, servedImage } from '../lab/served-images.ts'
import { openStations } from '../lab/stations.ts'

const IMAGE = 'lab/standard:1'
const PULLED = '127.0.0.1:5151/local/lab/standard:1'

test('a current Docker pulls from a classic Docker', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-gd', 'docker-ctr', 'debian-tree'])) return
  await using stations = await openStations([
    { name: 'classic', engine: 'gd' },
    { name: 'current', engine: 'ctr' },
  ])
  const [classic, current] = [stations.engineAt('classic'), stations.engineAt('current')]
  const id = await buildStandardImage(classic.engine, { reference: IMAGE, incompressibleMib: 16 })
  await classic.node.cliJson(['seed', IMAGE])

  await current.engine.dockerOk(['pull', PULLED])
  const image = await servedImage(current.node, 'local/lab/standard', '1')
  // The ID of the classic store is the digest of the config, that of the other the manifest's.
  assert.equal(image.manifest.config.digest, id)
  const format = ['image', 'inspect', '--format', '{{.Id}}', PULLED]
  assert.equal(await current.engine.dockerOk(format), image.rootDigest)
  const held = contentOf(current.engine)
  assert.deepEqual(
    image.digests.filter((digest) => !held.has(digest)),
    [],
  )
  await assertLayersFromPeers(current.node, image)

  assert.equal(await runImage(current.engine, PULLED), IMAGE)
  assert.equal(
    await fingerprintImage(current.engine, PULLED),
    await fingerprintImage(classic.engine, IMAGE),
  )
})
