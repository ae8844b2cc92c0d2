/** How fast a blob becomes a torrent: ingest into the store with its piece hashes, beside what bounds it. */
import { randomBytes } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { DiskBlobStore } from '../src/store/disk-blob-store.ts'
import { makeTorrent } from '../src/torrent/metainfo.ts'
import { pieceLength } from '../src/torrent/piece-length.ts'
import { hashCeiling } from './hash-ceiling.ts'
import { measureOptions } from './measure-options.ts'
import { printRow } from './row.ts'
import { median } from './statistics.ts'
import { openWorkDirectory } from './work-directory.ts'

const MB = 1e6
const CHUNK_BYTES = 256 * 1024
const options = measureOptions({ blob: 2 ** 30, repetitions: 5 })
const buffer = randomBytes(64 * 1024 * 1024)

await using work = await openWorkDirectory()
const rates = { made: [] as number[], written: [] as number[], hashed: [] as number[] }
for (let repetition = 0; repetition < options.repetitions; repetition += 1) {
  rates.made.push(await timed(makeMetainfo))
  rates.written.push(await timed(writePlainly))
  rates.hashed.push(hashCeiling({ bytes: options.blob }))
}
printRow({
  name: 'metainfo',
  unit: 'MB/s',
  value: median(rates.made) / MB,
  limit: median(rates.hashed) / MB,
  baseline: { 'plain write': median(rates.written) / MB },
  params: {
    ...options,
    chunkBytes: CHUNK_BYTES,
    inMemory: work.isInMemory,
    all: rates.made.map((rate) => Math.round(rate / MB)),
  },
})

/** Bytes per second. */
async function timed(run: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now()
  await run()
  return (options.blob * 1000) / (performance.now() - startedAtMs)
}

async function makeMetainfo(): Promise<void> {
  const store = await DiskBlobStore.open({ dataDir: join(work.path, 'store') })
  const { blob } = options
  const kept = await store.ingest(chunks(), { size: blob, pieceLength: pieceLength(blob) })
  if (!kept.pieceHashes) throw new TypeError('ingest gave no piece hashes')
  makeTorrent({ digest: kept.digest, size: blob, pieces: kept.pieceHashes })
  await store.remove(kept.digest)
  await store[Symbol.asyncDispose]()
}

async function writePlainly(): Promise<void> {
  const path = join(work.path, 'plain')
  await using file = await open(path, 'w')
  for await (const chunk of chunks()) await file.write(chunk)
  await rm(path)
}

async function* chunks(): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < options.blob; offset += CHUNK_BYTES) {
    const start = offset % buffer.length
    const length = Math.min(CHUNK_BYTES, options.blob - offset)
    yield buffer.subarray(start, start + length)
  }
}
