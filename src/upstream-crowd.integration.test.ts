import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import { hexOf } from './oci/digest.ts'
import type { CrowdOrder, CrowdReport } from './testing/crowd-client.ts'
import { openFaultProxy } from './testing/fault-proxy.ts'
import { mustRun } from './testing/lab/child.ts'
import { startDdockerNode } from './testing/lab/ddocker-node.ts'
import { openLayoutRegistry } from './testing/layout-registry.ts'
import { peakMemoryOf } from './testing/process-tree.ts'
import { wrongBlobs } from './testing/stored-blobs.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024
const BLOB_BYTES = 16 * MIB
const CLIENTS = 1000
// A node that nobody asks has 130.
const MAX_MEMORY_BYTES = 256 * MIB
const CROWD = join(import.meta.dirname, 'testing/crowd-client.ts')

test('1000 clients ask for one cold blob at once: upstream sends it once, all get it, in bounded memory', async (t) => {
  await using dir = await tempDir()
  const image = await writeLayout(join(dir.path, 'image'), [BLOB_BYTES])
  const [layer] = image.layers
  assert.ok(layer)
  await using registry = await openLayoutRegistry()
  await registry.add('app', image)
  await using proxy = await openFaultProxy({ target: registry.address })
  // So slow that all clients are there long before the blob is.
  await proxy.set({ kind: 'slow', on: 'blobs', bytesPerSecond: 4 * MIB })
  await using node = await startDdockerNode({
    discovery: 'none',
    upstream: 'on',
    args: ['--insecure-upstream', proxy.address, '--docker-config', 'none'],
  })
  const query = `?ns=${proxy.address}`
  assert.equal((await node.get(`/v2/app/manifests/1${query}`)).status, 200)
  const order: CrowdOrder = {
    door: node.registry,
    path: `/v2/app/blobs/${layer.digest}${query}`,
    count: CLIENTS,
    file: join(image.path, 'blobs/sha256', hexOf(layer.digest)),
  }
  const ran = await mustRun(process.execPath, [CROWD, JSON.stringify(order)], {
    timeoutMs: 300_000,
  })
  const { right, wrong, ms } = JSON.parse(ran.stdout) as CrowdReport
  const peakBytes = peakMemoryOf(node.pid)
  const asked = proxy.count({ method: 'GET', what: 'blob', reference: layer.digest })
  t.diagnostic(`${right} right in ${ms.toFixed(0)} ms, ${asked} GET upstream`)
  t.diagnostic(`at most ${(peakBytes / MIB).toFixed(0)} MiB of memory`)
  assert.deepEqual({ right, wrong }, { right: CLIENTS, wrong: [] })
  assert.equal(asked, 1)
  assert.ok(peakBytes < MAX_MEMORY_BYTES, `${peakBytes} bytes of memory`)
  assert.deepEqual(await wrongBlobs(node.dataDir), [])
})
