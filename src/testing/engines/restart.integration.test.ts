/** A node that dies in the middle of a docker pull: Docker tries again, the node goes on. */
import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { test } from 'node:test'
import type { TransferStatus } from '../../status/node-status.ts'
import type { DdockerNode } from '../lab/ddocker-node.ts'
import { buildLargeImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { peerBytes, servedImage, transfersOfBlob } from '../lab/served-images.ts'
import { openStations } from '../lab/stations.ts'

const MIB = 1024 * 1024
const IMAGE = 'lab/large:1'
const PULLED = '127.0.0.1:5151/local/lab/large:1'
const KILL_AT = 0.6

test('a node killed at 60 % of a layer goes on where it was, in the same docker pull', async (t) => {
  if (!requireLab(t, ['root', 'network', 'docker-gd', 'busybox'])) return
  await using stations = await openStations([
    { name: 'seed', engine: 'gd', args: ['--upload-limit', '8MiB/s'] },
    { name: 'puller', engine: 'gd' },
  ])
  const [seed, puller] = [stations.engineAt('seed'), stations.engineAt('puller')]
  const id = await buildLargeImage(seed.engine, { reference: IMAGE, incompressibleMib: 64 })
  await seed.node.cliJson(['seed', IMAGE])
  const { manifest } = await servedImage(seed.node, 'local/lab/large', '1')
  const layer = manifest.layers.find(({ size }) => size > 64 * MIB)
  assert.ok(layer)

  const pull = puller.engine.docker(['pull', PULLED], { timeoutMs: 100_000 })
  const before = await transferAt(puller.node, layer.digest, KILL_AT)
  await puller.node.kill()
  await puller.node.restart()
  const { code, stdout, stderr } = await pull
  assert.equal(code, 0, `${stdout}\n${stderr}`)

  const [resumed, ...others] = await transfersOfBlob(puller.node, layer.digest)
  assert.ok(resumed)
  assert.deepEqual(others, [])
  const { store, peers, upstream } = resumed.bytes
  t.diagnostic(`killed with ${before.bytes.peers} bytes here, went on with ${store}`)
  assert.deepEqual(
    { state: resumed.state, sum: store + peers, upstream },
    { state: 'done', sum: layer.size, upstream: 0 },
  )
  assert.ok(store >= layer.size / 2, `${store} of ${layer.size} bytes were kept`)
  assert.ok(store >= before.bytes.peers, `${before.bytes.peers} bytes were verified before`)
  // What was on its way when the node died comes again, and nothing else.
  const sent = await peerBytes(seed.node, 'out')
  const lost = sent - layer.size
  t.diagnostic(`the seed sent ${lost} bytes more than the layer has`)
  assert.ok(lost < 8 * MIB, `the seed sent ${sent} bytes for a layer of ${layer.size}`)

  const format = ['image', 'inspect', '--format', '{{.Id}}', PULLED]
  assert.equal(await puller.engine.dockerOk(format), id)
  assert.equal(await runImage(puller.engine, PULLED), IMAGE)
})

/** Waits until a share of a blob has come. */
async function transferAt(
  node: DdockerNode,
  digest: string,
  share: number,
): Promise<TransferStatus> {
  const deadline = AbortSignal.timeout(60_000)
  for (;;) {
    const [transfer] = await transfersOfBlob(node, digest)
    if (transfer && transfer.bytes.peers >= share * transfer.size) {
      assert.equal(transfer.state, 'moving')
      return transfer
    }
    // There is no event for a share of a blob.
    await pause(100, undefined, { signal: deadline })
  }
}
