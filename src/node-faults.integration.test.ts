import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf } from './oci/digest.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { readBody, transfersAt } from './testing/node-reading.ts'
import { memoryOf } from './testing/process-tree.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout, type LayoutFixture } from './testing/testnet.ts'

const MIB = 1024 * 1024

test('four 64 MiB layers stream at once from a slow seed: bytes in a second, every second, in little memory', async (t) => {
  await using dir = await tempDir()
  const image = await writeLayout(join(dir.path, 'image'), [64 * MIB, 64 * MIB, 64 * MIB, 64 * MIB])
  await using swarm = await startSwarm({
    seedArgs: ['--upload-limit', '24MiB/s'],
  })
  const { seed, puller } = swarm
  await seed.cliJson(['import', image.path, '--name', 'app:1'])
  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  let peakBytes = 0
  const watch = setInterval(() => (peakBytes = Math.max(peakBytes, memoryOf(puller.pid))), 100)
  const bodies = await Promise.all(
    image.layers.map(({ digest }) =>
      readBody(`http://${puller.registry}/v2/local/app/blobs/${digest}`),
    ),
  )
  clearInterval(watch)
  for (const [index, body] of bodies.entries()) {
    assert.equal(digestOf(body.bytes), image.layers[index]?.digest)
    assert.ok(body.firstByteMs < 1000, `first byte after ${body.firstByteMs} ms`)
    assert.ok(body.longestGapMs < 1000, `${body.longestGapMs} ms without a byte`)
  }
  const { ms = 0 } =
    (await transfersAt(puller.registry)).find(({ size }) => size === 64 * MIB) ?? {}
  assert.ok(ms > 8000, `the layers came in ${ms} ms: the limit does not hold`)
  t.diagnostic(`at most ${(peakBytes / 1e6).toFixed(0)} MB of memory`)
  assert.ok(peakBytes > 0 && peakBytes < 250e6, `${(peakBytes / 1e6).toFixed(0)} MB of memory`)
})

test('with no seed left the body ends early within 30 s, and the next pull moves only what was missing', async () => {
  await using dir = await tempDir()
  const image = await writeLayout(join(dir.path, 'image'), [32 * MIB])
  await using swarm = await startSwarm({
    seedArgs: ['--upload-limit', '12MiB/s'],
  })
  const { seed, puller } = swarm
  const digest = layerOf(image)
  await seed.cliJson(['import', image.path, '--name', 'app:1'])
  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  const url = `http://${puller.registry}/v2/local/app/blobs/${digest}`
  let killed: { atMs: number; exit: Promise<unknown> } | undefined
  const body = await readBody(url, {
    onBytes: (bytes) => {
      if (bytes >= 0.6 * 32 * MIB) killed ??= { atMs: performance.now(), exit: seed.kill() }
    },
  })
  assert.ok(killed)
  await killed.exit
  assert.equal(body.isWhole, false)
  assert.ok(performance.now() - killed.atMs < 30_000)
  assert.ok(image.layers[0]?.bytes.subarray(0, body.bytes.length).equals(body.bytes))
  await seed.restart()
  const rest = await readBody(url, { headers: { range: `bytes=${body.bytes.length}-` } })
  assert.equal(rest.status, 206)
  assert.equal(digestOf(Buffer.concat([body.bytes, rest.bytes])), digest)
  const [last] = (await transfersAt(puller.registry)).filter(
    (transfer) => transfer.digest === digest,
  )
  assert.ok(last && last.bytes.store >= 0.55 * last.size, `${last?.bytes.store} bytes were kept`)
  assert.equal(last.bytes.store + last.bytes.peers, last.size)
})

test('a node killed at 60 % goes on from its verified pieces', async () => {
  await using dir = await tempDir()
  const image = await writeLayout(join(dir.path, 'image'), [48 * MIB])
  await using swarm = await startSwarm({
    seedArgs: ['--upload-limit', '12MiB/s'],
  })
  const { seed, puller } = swarm
  const digest = layerOf(image)
  await seed.cliJson(['import', image.path, '--name', 'app:1'])
  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  let exit: Promise<unknown> | undefined
  const body = await readBody(`http://${puller.registry}/v2/local/app/blobs/${digest}`, {
    onBytes: (bytes) => {
      if (bytes >= 0.6 * 48 * MIB) exit ??= puller.kill()
    },
  })
  await exit
  assert.equal(body.isWhole, false)
  await puller.restart()
  const rest = await readBody(`http://${puller.registry}/v2/local/app/blobs/${digest}`, {
    headers: { range: `bytes=${body.bytes.length}-` },
  })
  assert.equal(digestOf(Buffer.concat([body.bytes, rest.bytes])), digest)
  const [last] = (await transfersAt(puller.registry)).filter(
    (transfer) => transfer.digest === digest,
  )
  assert.ok(last)
  // Pieces are made durable every second or 16 MiB: at most the last of these is fetched again.
  assert.ok(
    last.bytes.store >= body.bytes.length - 16 * MIB,
    `${last.bytes.store} of ${body.bytes.length} bytes were kept`,
  )
  assert.equal(last.bytes.store + last.bytes.peers, last.size)
})

interface Swarm extends AsyncDisposable {
  readonly seed: DdockerNode
  readonly puller: DdockerNode
}

async function startSwarm({ seedArgs }: { seedArgs: readonly string[] }): Promise<Swarm> {
  await using started = new AsyncDisposableStack()
  const swarmKey = randomBytes(32).toString('hex')
  const seed = started.use(
    await startDdockerNode({ discovery: 'none', nodeName: 'seed', swarmKey, args: seedArgs }),
  )
  const puller = started.use(
    await startDdockerNode({
      discovery: `bootstrap:${seed.peerAddress}`,
      nodeName: 'puller',
      swarmKey,
    }),
  )
  const opened = started.move()
  return { seed, puller, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

function layerOf(image: LayoutFixture) {
  const [layer] = image.layers
  assert.ok(layer)
  return layer.digest
}
