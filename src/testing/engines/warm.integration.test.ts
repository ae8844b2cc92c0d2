/** One command brings an image to every node of a swarm, and into the engines. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WarmResult } from '../../control/control-protocol.ts'
import { buildQuickImage, buildStandardImage, fingerprintImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { peerBytes, servedImage, storedBlobs } from '../lab/served-images.ts'
import { openStations } from '../lab/stations.ts'

const IMAGE = 'lab/standard:1'
const QUICK = 'lab/quick:1'
const NODES = ['classic', 'current', 'third', 'fourth']

test('four nodes, two with engines, are warmed up', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-gd', 'docker-ctr', 'debian-tree'])) return
  await using stations = await openStations(
    [
      { name: 'classic', engine: 'gd' },
      { name: 'current', engine: 'ctr' },
      { name: 'third' },
      { name: 'fourth' },
    ],
    { rate: '100mbit' },
  )
  const [classic, current] = [stations.engineAt('classic'), stations.engineAt('current')]
  await buildStandardImage(classic.engine, { reference: IMAGE, incompressibleMib: 16 })
  const fingerprint = await fingerprintImage(classic.engine, IMAGE)
  await classic.node.cliJson(['seed', IMAGE])
  const image = await servedImage(classic.node, 'local/lab/standard', '1')
  const size = image.manifest.layers.reduce((sum, layer) => sum + layer.size, 0)

  await t.test('all nodes hold the image; the seed sent less than two copies', async () => {
    const { nodes } = (await classic.node.cliJson(['warm', `local/${IMAGE}`])) as WarmResult
    assert.deepEqual(
      nodes.map(({ nodeName, state }) => `${nodeName} ${state}`).sort(),
      NODES.map((name) => `${name} done`).sort(),
    )
    for (const name of NODES) {
      const held = new Set(storedBlobs(stations.at(name).node))
      assert.deepEqual(
        image.digests.filter((digest) => !held.has(digest)),
        [],
        name,
      )
    }
    const copies = (await peerBytes(classic.node, 'out')) / size
    t.diagnostic(`the seed sent ${copies.toFixed(2)} copies to three nodes`)
    assert.ok(copies < 2, `${copies} copies`)
  })

  await t.test('with --load the engines can run it', async () => {
    await classic.engine.dockerOk(['image', 'rm', '--force', IMAGE])
    const args = ['warm', `local/${IMAGE}`, '--load']
    const { nodes } = (await classic.node.cliJson(args)) as WarmResult
    assert.deepEqual(
      Object.fromEntries(nodes.map(({ nodeName, state, loaded }) => [nodeName, { state, loaded }])),
      {
        classic: { state: 'done', loaded: true },
        current: { state: 'done', loaded: true },
        third: { state: 'done', loaded: false },
        fourth: { state: 'done', loaded: false },
      },
    )
    for (const { engine } of [classic, current]) {
      assert.equal(await runImage(engine, IMAGE), IMAGE)
      assert.equal(await fingerprintImage(engine, IMAGE), fingerprint)
    }
  })

  await t.test('a node that is stopped is named, and the exit code is 3', async () => {
    await stations.at('fourth').node.stop()
    await buildQuickImage(classic.engine, { reference: QUICK })
    await classic.node.cliJson(['seed', QUICK])
    const { code, stdout, stderr } = await classic.node.cli(['warm', `local/${QUICK}`])
    assert.equal(code, 3, `${stdout}\n${stderr}`)
    const failed = stdout.split('\n').filter((line) => / failed /.test(line))
    assert.deepEqual(
      failed.map((line) => line.split(' ')[0]),
      ['fourth'],
    )
    assert.match(stderr, /\bfourth: /)
    const quick = await servedImage(classic.node, 'local/lab/quick', '1')
    for (const name of ['current', 'third']) {
      const held = new Set(storedBlobs(stations.at(name).node))
      assert.ok(
        quick.digests.every((digest) => held.has(digest)),
        name,
      )
    }
  })
})
