import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { digestOf } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import type { PartialBlob } from '../store/blob-store.ts'
import { makeTorrent, pieceHashOf } from '../torrent/metainfo.ts'
import { pieceLength } from '../torrent/piece-length.ts'
import { TorrentEngine, type SeedContent, type TorrentDownload } from '../torrent/torrent-engine.ts'

/** What a test gives to clean up with. */
interface TestContext {
  after(work: () => Promise<void> | void): void
}

/** An engine behind a TCP port of its own. */
export interface TestEngine {
  readonly engine: TorrentEngine
  readonly endpoint: { readonly host: string; readonly port: number }
}

/** An engine that downloads. */
export interface TestLeecher extends TestEngine {
  readonly store: DiskBlobStore
  readonly partial: PartialBlob
  readonly download: TorrentDownload
}

/** A blob with its torrent. */
export interface TestBlob {
  readonly bytes: Buffer
  readonly record: TorrentRecord
}

/** The torrent of bytes. */
export function testBlob(bytes: Buffer): TestBlob {
  const length = pieceLength(bytes.length)
  const hashes: Buffer[] = []
  for (let at = 0; at < bytes.length; at += length) {
    hashes.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + length))
        .digest(),
    )
  }
  const record = makeTorrent({
    digest: digestOf(bytes),
    size: bytes.length,
    pieces: Buffer.concat(hashes),
  })
  return { bytes, record }
}

/** Waits until all pieces are there. */
export async function completed({ progress }: TorrentDownload): Promise<void> {
  if (progress.isComplete) return
  await once(progress, 'complete', { signal: AbortSignal.timeout(20_000) })
}

/** Starts an engine that seeds `holds`, which may differ from what its record says. */
export async function startEngine(
  t: TestContext,
  {
    holds,
    gives = true,
    uploadBytesPerSecond,
  }: { holds?: TestBlob; gives?: boolean; uploadBytesPerSecond?: number } = {},
): Promise<TestEngine> {
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
    load: async (infoHash) =>
      infoHash === holds?.record.infoHash ? seedOf(holds, gives) : undefined,
  })
  t.after(async () => {
    await engine[Symbol.asyncDispose]()
    server.close()
  })
  return { engine, endpoint: { host: '127.0.0.1', port } }
}

/** Starts an engine that wants a blob and knows nobody yet. */
export async function startLeecher(t: TestContext, record: TorrentRecord): Promise<TestLeecher> {
  const { engine, endpoint } = await startEngine(t)
  const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-engine-'))
  const store = await DiskBlobStore.open({ dataDir })
  t.after(async () => {
    await store[Symbol.asyncDispose]()
    await rm(dataDir, { recursive: true, force: true })
  })
  const pieceHash = (index: number) => pieceHashOf(record, index)
  const partial = await store.openPartial({ ...record, pieceHash })
  const closeContent = async () => partial[Symbol.asyncDispose]()
  const download = await engine.download({ record, partial }, { closeContent })
  assert.equal(download.progress.isComplete, false)
  return { engine, endpoint, store, partial, download }
}

function seedOf({ bytes, record }: TestBlob, gives: boolean): SeedContent {
  return {
    record,
    content: {
      size: bytes.length,
      hasPiece: () => true,
      read: async (offset, length) => {
        if (!gives) throw new Error('it is gone')
        return bytes.subarray(offset, offset + length)
      },
    },
    close: async () => {},
  }
}
