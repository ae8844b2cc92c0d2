/** Between two current Dockers an image keeps its manifest and every blob, byte for byte. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SeedResult } from '../../control/control-protocol.ts'
import { contentOf } from '../lab/docker-ctr.ts'
import { buildStandardImage, fingerprintImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { assertLayersFromPeers, servedImage, storedBlobs } from '../lab/served-images.ts'
import { openStations } from '../lab/stations.ts'

const IMAGE = 'lab/standard:1'
const PULLED = '127.0.0.1:5151/local/lab/standard:1'

test('a current Docker pulls from a current Docker', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-ctr', 'debian-tree'])) return
  await using stations = await openStations([
    { name: 'one', engine: 'ctr' },
    { name: 'two', engine: 'ctr' },
  ])
  const [one, two] = [stations.engineAt('one'), stations.engineAt('two')]
  const id = await buildStandardImage(one.engine, { reference: IMAGE })

  await t.test('the node shares what the engine has, as it is', async () => {
    const { failed } = (await one.node.cliJson(['seed-all'])) as SeedResult
    assert.deepEqual(failed, [])
    const image = await servedImage(one.node, 'local/lab/standard', '1')
    assert.equal(image.rootDigest, id)
    const held = contentOf(one.engine)
    assert.deepEqual(
      image.digests.filter((digest) => !held.has(digest)),
      [],
    )
  })

  await t.test('docker pull keeps the manifest and all blobs, all from peers', async () => {
    await two.engine.dockerOk(['pull', PULLED])
    const format = ['image', 'inspect', '--format', '{{.Id}}', PULLED]
    assert.equal(await two.engine.dockerOk(format), id)
    const image = await servedImage(two.node, 'local/lab/standard', '1')
    assert.equal(image.rootDigest, id)
    assert.ok(image.manifest.layers.length >= 5)
    for (const held of [contentOf(two.engine), new Set(storedBlobs(two.node))]) {
      assert.deepEqual(
        image.digests.filter((digest) => !held.has(digest)),
        [],
      )
    }
    await assertLayersFromPeers(two.node, image)
  })

  await t.test('the container runs, on the same files', async () => {
    assert.equal(await runImage(two.engine, PULLED), IMAGE)
    assert.equal(
      await fingerprintImage(two.engine, PULLED),
      await fingerprintImage(one.engine, IMAGE),
    )
  })
})
