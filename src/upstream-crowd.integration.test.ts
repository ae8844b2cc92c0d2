import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import { hexOf } from './oci/digest.ts'
import type { CrowdOrder, CrowdReport } from './testing/crowd-client.ts'
import { openFaultProxy } from './testing/fault-proxy.ts'
import { mustRun } from './testing/lab/child.ts'
import { startDdockerNode } from './testing/lab/ddocker-node.ts'
import { openLayoutRegistry } from './testing/layout-registry.ts'
import { wrongBlobs } from './testing/stored-blobs.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024
const BLOB_BYTES = 16 * MIB
const CLIENTS = 1000
// How far V8 has come with its collections at the worst moment is chance: of 17 runs 15 peaked between 212 and 251, two at 258
// and 272. So one of three has to keep the bound, and none may go far beyond it. A node that nobody asks has 130.
const MAX_MEMORY_BYTES = 256 * MIB
const NEVER_BYTES = 320 * MIB
const RUNS = 3
const CROWD = join(import.meta.dirname, 'testing/crowd-client.ts')

test('1000 clients ask for one cold blob at once: upstream sends it once, all get it, in bounded memory', async (t) => {
  let leastBytes = Infinity
  for (let run = 0; run < RUNS && leastBytes >= MAX_MEMORY_BYTES; run += 1) {
    const peakBytes = await serveCrowd(t)
    assert.ok(peakBytes < NEVER_BYTES, `${peakBytes} bytes of memory`)
    leastBytes = Math.min(leastBytes, peakBytes)
  }
  assert.ok(leastBytes < MAX_MEMORY_BYTES, `${leastBytes} bytes of memory`)
})

/** @returns the most memory that the node had, bytes */
async function serveCrowd(t: TestContext): Promise<number> {
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
  const peakBytes = await peakMemoryOf(node.pid)
  const asked = proxy.count({ method: 'GET', what: 'blob', reference: layer.digest })
  t.diagnostic(`${right} right in ${ms.toFixed(0)} ms, ${asked} GET upstream`)
  t.diagnostic(`at most ${(peakBytes / MIB).toFixed(0)} MiB of memory`)
  assert.deepEqual({ right, wrong }, { right: CLIENTS, wrong: [] })
  assert.equal(asked, 1)
  assert.deepEqual(await wrongBlobs(node.dataDir), [])
  return peakBytes
}

/** The most memory that a process ever had, bytes (proc(5), status, VmHWM). */
async function peakMemoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}
