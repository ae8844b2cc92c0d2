/**
 * A process that works on a store until somebody kills it: `node crash-victim.ts <data dir> <seed> [once]`.
 * It writes one line for everything that it may be held to, before or after it is true:
 *
 *   ready                            the rooms are open
 *   blob <seed> <digest> <size>      this is what the seed makes; follows before anything is done with it
 *   kept <digest>                    the store acknowledged it
 *   removing <digest>                from here on it may be there or not
 *   named <sequence>                 the catalog acknowledged that sequence of the one name
 *   refused <code>                   an operation failed with this code
 *   done                             with `once`: one of each was done, and the rooms are closed
 */
import { createCipheriv, createHash } from 'node:crypto'
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { argv } from 'node:process'

import { Catalog } from '../catalog/catalog.ts'
import { isOperationError } from '../errors.ts'
import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { SeededRandom } from './seeded-random.ts'

export const VICTIM_NODE_ID = 'a'.repeat(64)
export const VICTIM_NAME = 'docker.io/library/app:1'
export const VICTIM_PIECE_LENGTH = 256 * 1024

/** Bytes that follow from a seed, of a size that does too: 1 byte to 3 MiB, small ones more often. */
export function contentOf(seed: number): Buffer {
  const size = Math.ceil(2 ** (new SeededRandom(seed).next() * 21.5))
  const key = createHash('sha256').update(`content ${seed}`).digest().subarray(0, 16)
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size))
}

/** Where the victim keeps its catalog. */
export function catalogOf(dataDir: string): { path: string; recordsPath: string } {
  return { path: join(dataDir, 'catalog'), recordsPath: join(dataDir, 'records') }
}

function say(line: string): void {
  // one short write, so that a line is there whole or not at all
  writeSync(1, `${line}\n`)
}

function recordOf(sequence: number): SignedReferenceRecord {
  return {
    name: VICTIM_NAME,
    digest: digestOf(`meaning ${sequence}`),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: 500,
    sequence,
    expiresAtMs: 86_400_000,
    nodeId: VICTIM_NODE_ID,
    nodeName: 'victim',
    signature: 'c'.repeat(128),
    mac: 'd'.repeat(64),
  }
}

function announce(seed: number): { content: Buffer; digest: Digest } {
  const content = contentOf(seed)
  const digest = digestOf(content)
  say(`blob ${seed} ${digest} ${content.length}`)
  return { content, digest }
}

async function ingest(store: DiskBlobStore, seed: number): Promise<Digest> {
  const { content, digest } = announce(seed)
  async function* source() {
    for (let start = 0; start < content.length; start += 65_536) {
      yield content.subarray(start, start + 65_536)
    }
  }
  await store.ingest(source(), { pieceLength: VICTIM_PIECE_LENGTH })
  say(`kept ${digest}`)
  return digest
}

async function download(store: DiskBlobStore, seed: number): Promise<Digest> {
  const { content, digest } = announce(seed)
  const pieceLength = VICTIM_PIECE_LENGTH
  await using partial = await store.openPartial({ digest, size: content.length, pieceLength })
  for (const index of new SeededRandom(seed).shuffled(Array(partial.pieceCount).keys())) {
    const start = index * pieceLength
    await partial.writePiece(index, content.subarray(start, start + pieceLength))
    if (index % 3 === 0) await partial.checkpoint()
  }
  await partial.commit()
  say(`kept ${digest}`)
  return digest
}

async function name(catalog: Catalog): Promise<void> {
  const sequence = ((await catalog.lastSequence(VICTIM_NAME, VICTIM_NODE_ID)) ?? 0) + 1
  if (await catalog.putReference(recordOf(sequence))) say(`named ${sequence}`)
}

async function tell(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isOperationError(error)) throw error
    say(`refused ${error.code}`)
  }
}

async function work(dataDir: string, seed: number, isOnce: boolean): Promise<void> {
  const random = new SeededRandom(seed)
  await using catalog = await Catalog.open(catalogOf(dataDir))
  await using store = await DiskBlobStore.open({ dataDir })
  say('ready')
  const kept: Digest[] = []
  for (let rounds = isOnce ? 1 : Infinity; rounds > 0; rounds -= 1) {
    await tell(async () => kept.push(await ingest(store, random.below(1e9))))
    await tell(async () => kept.push(await download(store, random.below(1e9))))
    await tell(() => name(catalog))
    const digest = random.below(4) === 0 ? kept.shift() : undefined
    if (digest === undefined) continue
    say(`removing ${digest}`)
    await store.remove(digest)
  }
}

if (argv[1] === import.meta.filename) {
  const [, , dataDir = '', seed = '', mode] = argv
  await work(dataDir, Number(seed), mode === 'once')
  say('done')
}
