import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { digestOf } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { encodeTorrentFile, makeTorrent, pieceHashOf } from './metainfo.ts'
import { pieceLength } from './piece-length.ts'
import { TorrentEngine, type SeedContent, type TorrentDownload } from './torrent-engine.ts'

const SIZE = 9 * 1024 * 1024 + 12_345
const content = randomBytes(SIZE)
const record = torrentOf(content)

test('fetches every piece from one seed and proves the whole', async (t) => {
  const seed = await startEngine(t, { holds: content })
  const leecher = await startLeecher(t)
  leecher.download.dial(seed.endpoint)
  await once(leecher.download.progress, 'complete')
  await leecher.partial.commit()
  assert.ok(await leecher.store.has(record.digest))
})

test('leechers give each other what the seed sent once', async (t) => {
  const seed = await startEngine(t, { holds: content, uploadBytesPerSecond: 16 * 1024 * 1024 })
  const leechers = await Promise.all([startLeecher(t), startLeecher(t), startLeecher(t)])
  let sent = 0
  seed.engine.on('sent', ({ bytes }) => (sent += bytes))
  for (const { download } of leechers) download.dial(seed.endpoint)
  await Promise.all(leechers.map(({ download }) => completed(download)))
  for (const { partial } of leechers) await partial.commit()
  assert.ok(sent < 1.5 * SIZE, `the seed sent ${(sent / SIZE).toFixed(2)} copies`)
})

test('finds who sent a wrong piece, and goes on with the others', async (t) => {
  const wrong = Buffer.from(content)
  for (let at = 0; at < wrong.length; at += 10_000) wrong[at] = (wrong[at] ?? 0) ^ 255
  const good = await startEngine(t, { holds: content })
  const bad = await startEngine(t, { holds: wrong })
  const leecher = await startLeecher(t)
  const culprits: number[] = []
  leecher.download.progress.on('badPiece', (wire) => {
    culprits.push(Number(wire.peerExtendedHandshake['p']))
    wire.destroy()
  })
  leecher.download.dial(bad.endpoint)
  leecher.download.dial(good.endpoint)
  await completed(leecher.download)
  await leecher.partial.commit()
  assert.ok(culprits.length >= 1 && culprits.length <= 3, `${culprits.length} wrong pieces`)
  assert.deepEqual([...new Set(culprits)], [bad.endpoint.port])
})

test('a leecher that goes is forgotten, and the next one gets all it lacks', async (t) => {
  const seed = await startEngine(t, { holds: content, uploadBytesPerSecond: 8 * 1024 * 1024 })
  const first = await startLeecher(t)
  first.download.dial(seed.endpoint)
  await once(first.download.progress, 'piece')
  await first.engine[Symbol.asyncDispose]()
  const second = await startLeecher(t)
  second.download.dial(seed.endpoint)
  await completed(second.download)
  await second.partial.commit()
})

test('a wire closes when its peer is gone', async (t) => {
  const seed = await startEngine(t, { holds: content, uploadBytesPerSecond: 8 * 1024 * 1024 })
  const leecher = await startLeecher(t)
  leecher.download.dial(seed.endpoint)
  await once(leecher.download.progress, 'piece')
  assert.equal(leecher.download.progress.usablePeers, 1)
  await seed.engine[Symbol.asyncDispose]()
  await once(leecher.download.progress, 'peerLost', { signal: AbortSignal.timeout(5000) })
  assert.equal(leecher.download.progress.usablePeers, 0)
})

async function completed({ progress }: TorrentDownload): Promise<void> {
  if (!progress.isComplete)
    await once(progress, 'complete', { signal: AbortSignal.timeout(20_000) })
}

interface TestContext {
  after(work: () => Promise<void> | void): void
}

async function startEngine(
  t: TestContext,
  { holds, uploadBytesPerSecond }: { holds?: Buffer; uploadBytesPerSecond?: number } = {},
) {
  let engine: TorrentEngine | undefined
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {})
    engine?.accept(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  engine = await TorrentEngine.open({
    peerPort: port,
    ...(uploadBytesPerSecond !== undefined && { uploadBytesPerSecond }),
    nodeId: createHash('sha256').update(String(port)).digest('hex'),
    load: async (infoHash) => (holds && infoHash === record.infoHash ? seedOf(holds) : undefined),
  })
  t.after(async () => {
    await engine[Symbol.asyncDispose]()
    server.close()
  })
  return { engine, endpoint: { host: '127.0.0.1', port } }
}

async function startLeecher(t: TestContext) {
  const { engine, endpoint } = await startEngine(t)
  const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-engine-'))
  const store = await DiskBlobStore.open({ dataDir })
  t.after(async () => {
    await store[Symbol.asyncDispose]()
    await rm(dataDir, { recursive: true, force: true })
  })
  const partial = await store.openPartial({
    ...record,
    pieceHash: (index) => pieceHashOf(record, index),
  })
  const closeContent = async () => partial[Symbol.asyncDispose]()
  const download = await engine.download({ record, partial }, { closeContent })
  return { engine, endpoint, store, partial, download }
}

function seedOf(bytes: Buffer): SeedContent {
  return {
    record,
    content: {
      size: bytes.length,
      hasPiece: () => true,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
    },
    close: async () => {},
  }
}

function torrentOf(bytes: Buffer): TorrentRecord {
  const length = pieceLength(bytes.length)
  const hashes: Buffer[] = []
  for (let at = 0; at < bytes.length; at += length) {
    hashes.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + length))
        .digest(),
    )
  }
  assert.ok(encodeTorrentFile)
  return makeTorrent({ digest: digestOf(bytes), size: bytes.length, pieces: Buffer.concat(hashes) })
}
