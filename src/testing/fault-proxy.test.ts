import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { FAULT_KINDS, type FaultKind } from './faulty-answers.ts'
import { openFaultProxy, type FaultProxy } from './fault-proxy.ts'
import { openLayoutRegistry, type LayoutRegistry } from './layout-registry.ts'
import { tempDir, type TempDir } from './temp-dir.ts'
import { writeLayout, type LayoutFixture } from './testnet.ts'

const LAYER_BYTES = 50_000
/** These need something that this test does not set up, or only show in what follows them. */
const ELSEWHERE: readonly FaultKind[] = ['untrusted', 'slow']
const LIMIT_MS = 300
/** A connection that is kept may end just when it is used again. */
const ON_ITS_OWN = { headers: { connection: 'close' } }

describe('a fault proxy', () => {
  let dir: TempDir
  let registry: LayoutRegistry
  let proxy: FaultProxy
  let image: LayoutFixture

  before(async () => {
    dir = await tempDir()
    registry = await openLayoutRegistry()
    image = await writeLayout(join(dir.path, 'image'), [LAYER_BYTES])
    await registry.add('app', image)
    proxy = await openFaultProxy({ target: registry.address })
  })
  after(async () => {
    await proxy[Symbol.asyncDispose]()
    await registry[Symbol.asyncDispose]()
    await dir[Symbol.asyncDispose]()
  })

  const manifestUrl = () => `http://${proxy.address}/v2/app/manifests/1`
  const blobUrl = () => `http://${proxy.address}/v2/app/blobs/${image.layers[0]?.digest ?? ''}`

  test('passes everything on while it has no fault, and counts it', async () => {
    assert.deepEqual(await complaintsAbout(blobUrl(), image), [])
    const rest = await fetch(blobUrl(), { headers: { range: 'bytes=49990-' } })
    assert.equal(rest.status, 206)
    assert.equal((await rest.arrayBuffer()).byteLength, 10)
    assert.equal(proxy.count({ what: 'blob', method: 'GET' }), 2)
    assert.equal(proxy.count({ range: 'bytes=49990-' }), 1)
  })

  for (const kind of FAULT_KINDS.filter((name) => !ELSEWHERE.includes(name))) {
    test(`${kind}: a careful client notices, and all is well afterwards`, async () => {
      await proxy.set({ kind, on: 'blobs', location: `http://${registry.address}/elsewhere` })
      assert.notDeepEqual(await complaintsAbout(blobUrl(), image), [])
      await proxy.set(undefined)
      assert.deepEqual(await complaintsAbout(blobUrl(), image), [])
    })
  }

  test('a fault of manifests leaves blobs alone', async () => {
    await proxy.set({ kind: 'server-error', on: 'manifests' })
    assert.deepEqual(await complaintsAbout(blobUrl(), image), [])
    assert.equal((await fetch(manifestUrl(), ON_ITS_OWN)).status, 500)
    await proxy.set(undefined)
    assert.equal((await fetch(manifestUrl(), ON_ITS_OWN)).status, 200)
  })

  test('slow is slow', async () => {
    await proxy.set({ kind: 'slow', on: 'blobs', bytesPerSecond: 200_000 })
    const startedMs = performance.now()
    const answer = await fetch(blobUrl())
    assert.equal((await answer.arrayBuffer()).byteLength, LAYER_BYTES)
    assert.ok(performance.now() - startedMs > 150)
    await proxy.set(undefined)
  })
})

/** What is wrong with the answer, to somebody who knows the layer. */
async function complaintsAbout(url: string, image: LayoutFixture): Promise<string[]> {
  const expected = image.layers[0]
  try {
    const answer = await fetch(url, {
      redirect: 'manual',
      signal: AbortSignal.timeout(LIMIT_MS),
      ...ON_ITS_OWN,
    })
    const { headers } = answer
    const bytes = Buffer.from(await answer.arrayBuffer())
    const checks = {
      status: answer.status === 200,
      length: headers.get('content-length') === String(LAYER_BYTES),
      digest: headers.get('docker-content-digest') === expected?.digest,
      type: headers.get('content-type') === 'application/octet-stream',
      encoding: !headers.has('content-encoding'),
      bytes: expected?.bytes.equals(bytes) === true,
    }
    return Object.entries(checks).flatMap(([name, isRight]) => (isRight ? [] : [name]))
  } catch (error) {
    return [String(error)]
  }
}
