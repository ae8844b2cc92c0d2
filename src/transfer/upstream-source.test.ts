import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

import { Catalog } from '../catalog/catalog.ts'
import { digestOf } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { tempDir } from '../testing/temp-dir.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { BandwidthOrder } from './bandwidth-order.ts'
import { BlobAssembly } from './blob-assembly.ts'
import { BlobTransfer } from './blob-transfer.ts'
import { UpstreamSource } from './upstream-source.ts'

const MIB = 1024 * 1024
const LAYER_BYTES = 2 * MIB
const SIGNAL = AbortSignal.timeout(20_000)

test('a layer that waits for its turn is there to be had, unread until the one before has ended', async () => {
  await using dir = await tempDir()
  await using store = await DiskBlobStore.open({ dataDir: dir.path })
  await using catalog = await Catalog.open({
    path: join(dir.path, 'catalog'),
    recordsPath: join(dir.path, 'records'),
  })
  const firstMayEnd = Promise.withResolvers<void>()
  const events: string[] = []
  const layers = [0, 1].map((order) =>
    makeLayer(order, order === 0 ? firstMayEnd.promise : undefined),
  )
  function makeLayer(order: number, mayEnd?: Promise<void>) {
    const bytes = randomBytes(LAYER_BYTES)
    const transfer = new BlobTransfer({ digest: digestOf(bytes), images: [], size: bytes.length })
    const repository = { registry: 'registry.example', repository: 'app' }
    const route = { repository, identity: { kind: 'node' }, kind: 'blob', order } as const
    transfer.onRoute(route)
    async function* content(): AsyncGenerator<Buffer> {
      events.push(`${order} begins`)
      try {
        yield bytes.subarray(0, MIB)
        await mayEnd
        yield bytes.subarray(MIB)
      } finally {
        events.push(`${order} ends`)
      }
    }
    return { bytes, transfer, route, content }
  }
  const upstream = {
    blob: async (_: unknown, { digest }: { digest: string }) => ({
      size: LAYER_BYTES,
      access: 'public',
      content: layers.find(({ transfer }) => transfer.digest === digest)?.content(),
    }),
  } as unknown as Upstream
  const source = new UpstreamSource({
    upstream,
    access: { onGiven: async () => {} },
    // nothing ever takes so long that the next layer would be tried
    order: new BandwidthOrder({ nowMs: () => 0 }),
  })
  await using stack = new AsyncDisposableStack()
  const fills = layers.map(async ({ transfer, route }) => {
    const assembly = stack.use(new BlobAssembly({ transfer, store, catalog }))
    await source.fill(assembly, route, SIGNAL)
    return assembly.nextMissing(0)
  })
  // not by waiting for it: what a client waits for goes before what is fetched ahead
  while (layers.some(({ transfer }) => transfer.state === 'waiting')) await turn()
  assert.deepEqual(events, ['0 begins'])
  firstMayEnd.resolve()
  assert.deepEqual(await Promise.all(fills), [-1, -1])
  assert.deepEqual(events, ['0 begins', '0 ends', '1 begins', '1 ends'])
})
