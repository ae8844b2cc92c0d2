/** The main job: an image of one classic Docker is pulled by another, and no registry is anywhere. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildOnTop, buildStandardImage, fingerprintImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { assertLayersFromPeers, servedImage, storedBlobs } from '../lab/served-images.ts'
import { openStations } from '../lab/stations.ts'
import type { SeedResult } from '../../control/control-protocol.ts'

const MB = 1_000_000
const IMAGE = 'lab/standard:1'
const SECOND = 'lab/second:1'
const PULLED = '127.0.0.1:5151/local/lab/standard:1'
const PULLED_SECOND = '127.0.0.1:5151/local/lab/second:1'

test('a classic Docker pulls from a classic Docker', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-gd', 'debian-tree'])) return
  await using stations = await openStations([
    { name: 'one', engine: 'gd' },
    { name: 'two', engine: 'gd' },
  ])
  const [one, two] = [stations.engineAt('one'), stations.engineAt('two')]
  const id = await buildStandardImage(one.engine, { reference: IMAGE })

  await t.test('seed-all shares everything that the engine holds', async () => {
    const { images, failed } = (await one.node.cliJson(['seed-all'])) as SeedResult
    assert.deepEqual(failed, [])
    assert.deepEqual(images.map(({ reference }) => reference).sort(), [
      'ddocker-lab/debian:bookworm',
      IMAGE,
    ])
  })

  await t.test('an ordinary docker pull brings the same image, all of it from peers', async () => {
    await two.engine.dockerOk(['pull', PULLED])
    const format = ['image', 'inspect', '--format', '{{.Id}}', PULLED]
    assert.equal(await two.engine.dockerOk(format), id)
    const image = await servedImage(two.node, 'local/lab/standard', '1')
    const { config, layers } = image.manifest
    assert.equal(config.digest, id)
    assert.ok(layers.length >= 5, `${layers.length} layers`)
    assert.ok(layers.reduce((sum, { size }) => sum + size, 0) >= 150 * MB)
    await assertLayersFromPeers(two.node, image)
  })

  await t.test('the container runs, on the same files', async () => {
    assert.equal(await runImage(two.engine, PULLED), IMAGE)
    assert.equal(
      await fingerprintImage(two.engine, PULLED),
      await fingerprintImage(one.engine, IMAGE),
    )
  })

  await t.test('a second image moves only the layer that it does not share', async () => {
    const before = storedBlobs(one.node).length
    await buildOnTop(one.engine, { base: IMAGE, reference: SECOND })
    const { images } = (await one.node.cliJson(['seed', SECOND])) as SeedResult
    const image = await servedImage(one.node, 'local/lab/second', '1')
    const top = image.manifest.layers.at(-1)
    const { config } = image.manifest
    assert.ok(top)
    const [seeded] = images
    assert.ok(seeded && seeded.newBytes >= top.size + config.size)
    assert.ok(seeded.newBytes < top.size + config.size + 10_000, `${seeded.newBytes} new bytes`)
    assert.equal(storedBlobs(one.node).length, before + ['manifest', 'config', 'layer'].length)

    await two.engine.dockerOk(['pull', PULLED_SECOND])
    assert.equal(await runImage(two.engine, PULLED_SECOND), SECOND)
    await assertLayersFromPeers(two.node, image)
  })
})
