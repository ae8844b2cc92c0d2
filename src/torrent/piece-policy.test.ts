import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'

import bencode from 'bencode'
import * as fc from 'fast-check'

import { isOperationError } from '../errors.ts'
import { digestOf, hexOf } from '../oci/digest.ts'
import { BufferPool } from '../support/buffer-pool.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { TokenBucket } from '../support/token-bucket.ts'
import { BlockSource } from './block-source.ts'
import { ReadBudget } from './read-budget.ts'
import { encodeInfo, encodeTorrentFile, hashPieces, makeTorrent, parseInfo } from './metainfo.ts'
import { PieceDownload, type BlockPeer } from './piece-download.ts'
import { BLOCK_BYTES, pieceCount, pieceLength } from './piece-length.ts'
import { pickPiece, requestDepth, type PickerView } from './piece-picker.ts'
import type { BlockRequest } from './upload-queue.ts'

const KIB = 1024
const MIB = 1024 * KIB

test('piece lengths are those of format 1, for ever', () => {
  const lengths = [0, 1, MIB, 256 * MIB, 256 * MIB + 1, 1024 * MIB, 5 * 1024 * MIB, 2 ** 40].map(
    pieceLength,
  )
  assert.deepEqual(lengths, [
    256 * KIB,
    256 * KIB,
    256 * KIB,
    256 * KIB,
    512 * KIB,
    MIB,
    4 * MIB,
    4 * MIB,
  ])
  assert.equal(pieceCount(0), 0)
  assert.equal(pieceCount(256 * KIB + 1), 2)
})

test('every holder derives the same infohash, from four keys and nothing else', async () => {
  const bytes = Buffer.alloc(300 * KIB, 7)
  const read = async (offset: number, length: number) => bytes.subarray(offset, offset + length)
  const torrent = makeTorrent({
    digest: digestOf(bytes),
    size: bytes.length,
    pieces: await hashPieces({ size: bytes.length, read }),
  })
  const info = bencode.decode(encodeInfo(torrent)) as Record<string, unknown>
  assert.deepEqual(Object.keys(info), ['length', 'name', 'piece length', 'pieces'])
  assert.equal(Buffer.from(info['name'] as Uint8Array).toString(), hexOf(torrent.digest))
  assert.equal(torrent.infoHash, '6ff43538283ecece16c3b698e9aebcdaa9c936c6')
  assert.equal(createHash('sha1').update(encodeInfo(torrent)).digest('hex'), torrent.infoHash)
  assert.deepEqual(parseInfo(encodeInfo(torrent), torrent), torrent)
  assert.ok(bencode.decode(encodeTorrentFile(torrent)))
})

test('an info dictionary that differs in anything from what digest and size demand is refused', () => {
  const bytes = randomBytes(100)
  const torrent = makeTorrent({ digest: digestOf(bytes), size: 100, pieces: randomBytes(20) })
  const info = bencode.decode(encodeInfo(torrent)) as Record<string, unknown>
  const wrong: unknown[] = [
    { ...info, private: 1 },
    { ...info, length: 101 },
    { ...info, 'piece length': 2 ** 14 },
    { ...info, pieces: randomBytes(40) },
    { ...info, name: 'x' },
    [],
    {},
  ]
  for (const value of wrong) {
    assert.throws(() => parseInfo(bencode.encode(value), torrent), { code: 'RECORD_INVALID' })
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
      assert.throws(
        () => parseInfo(garbage, torrent),
        (error) => isOperationError(error, 'RECORD_INVALID'),
      )
    }),
  )
})

test('the piece at the cursor comes first, then the rarest of the window, then the rarest of all', () => {
  assert.equal(pickPiece(view({ cursor: 3 })), 3)
  const availability = (index: number) => (index === 5 ? 1 : index === 9 ? 0 : 4)
  assert.equal(pickPiece(view({ cursor: 3, isWanted: (index) => index !== 3, availability })), 5)
  assert.equal(pickPiece(view({ cursor: 3, isOffered: (index) => index > 7, availability })), 9)
  assert.equal(pickPiece(view({ isWanted: () => false })), -1)
  assert.equal(pickPiece(view({ isOffered: () => false })), -1)
})

test('nodes that ask at once do not all choose the same of equally rare pieces', () => {
  const chosen = new Set<number>()
  for (let round = 0; round < 100; round += 1) {
    chosen.add(pickPiece(view({ isOffered: (index) => index > 0, random: Math.random })))
  }
  assert.equal(chosen.size, 3, `${chosen.size} different choices`)
})

test('request depth follows the rate, within its bounds and what the peer takes', () => {
  const depth = (bytesPerSecond: number, limit?: number) =>
    requestDepth({ bytesPerSecond, blockBytes: BLOCK_BYTES, ...(limit !== undefined && { limit }) })
  assert.equal(depth(0), 16)
  assert.equal(depth(8 * MIB), 128)
  assert.equal(depth(1e9), 256)
  assert.equal(depth(1e9, 10), 10)
})

test('a piece is whole when every block has come once, in any order, duplicates aside', () => {
  const peer: BlockPeer = { isStalled: false }
  const bytes = randomBytes(3 * BLOCK_BYTES + 5)
  const piece = new PieceDownload({ index: 0, bytes: Buffer.alloc(bytes.length) })
  assert.equal(piece.blockCount, 4)
  const blockOf = (block: number) => bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
  for (const block of [3, 0, 2]) assert.deepEqual(piece.onBlock(block, blockOf(block), peer), [])
  assert.equal(piece.onBlock(3, blockOf(3), peer), undefined)
  assert.equal(piece.onBlock(1, bytes.subarray(0, 7), peer), undefined)
  assert.equal(piece.isComplete, false)
  piece.onBlock(1, blockOf(1), peer)
  assert.ok(piece.isComplete)
  assert.deepEqual([...new Set(piece.senders)], [peer])
  assert.ok(piece.takeBytes().equals(bytes))
  assert.throws(() => piece.takeBytes(), TypeError)
})

test('blocks of a peer that fell silent are free for others, and cancelled there when they come', () => {
  const [slow, quick]: BlockPeer[] = [{ isStalled: false }, { isStalled: false }]
  assert.ok(slow && quick)
  const piece = new PieceDownload<BlockPeer>({ index: 0, bytes: Buffer.alloc(2 * BLOCK_BYTES) })
  for (let block = piece.nextFree(); block >= 0; block = piece.nextFree())
    piece.onAsked(block, slow)
  assert.equal(piece.nextFree(), -1)
  slow.isStalled = true
  piece.onStalled()
  assert.equal(piece.nextFree(), 0)
  piece.onAsked(0, quick)
  assert.equal(piece.nextFree(), 1)
  assert.deepEqual(piece.onBlock(0, Buffer.alloc(BLOCK_BYTES), quick), [slow])
  piece.onRefused(1, slow)
  assert.equal(piece.nextFree(), 1)
})

test('a token bucket holds its rate and allows no burst of a second', () => {
  const bucket = new TokenBucket(MIB, { nowMs: 0 })
  let passed = 0
  for (let nowMs = 0; nowMs < 10_000; nowMs += 1)
    if (bucket.take(16 * KIB, nowMs) === 0) passed += 16 * KIB
  assert.ok(Math.abs(passed / (10 * MIB) - 1) < 0.03, `${passed / MIB} MiB in ten seconds`)
  const rested = new TokenBucket(MIB, { nowMs: 0 })
  let burst = 0
  while (rested.take(16 * KIB, 60_000) === 0) burst += 16 * KIB
  assert.ok(burst <= 0.15 * MIB, `${burst} bytes at once`)
})

test('blocks are read within the blob only, whatever a peer asks', async () => {
  const bytes = randomBytes(600 * KIB)
  const source = new BlockSource(
    {
      size: bytes.length,
      hasPiece: (index) => index !== 1,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
    },
    { pieceLength: 256 * KIB, budget: new ReadBudget(new BufferPool({ maxBytes: 0 })) },
  )
  const first = { index: 0, offset: 16 * KIB, length: 16 * KIB }
  assert.ok(bytes.subarray(16 * KIB, 32 * KIB).equals(await copyOf(source, first)))
  const last = { index: 2, offset: 0, length: 16 * KIB }
  assert.ok(bytes.subarray(512 * KIB, 528 * KIB).equals(await copyOf(source, last)))
  const wrong: [number, number, number][] = [
    [1, 0, 1],
    [3, 0, 1],
    [-1, 0, 1],
    [0.5, 0, 1],
    [0, -1, 1],
    [0, 0, 0],
    [0, 0, -5],
    [0, 256 * KIB, 1],
    [2, 80 * KIB, 16 * KIB],
  ]
  for (const [index, offset, length] of wrong)
    await assert.rejects(copyOf(source, { index, offset, length }), RangeError)
})

test('blocks are the right ones while buffers are used again, and after reads that failed', async () => {
  const bytes = randomBytes(16 * 256 * KIB)
  let reads = 0
  const source = new BlockSource(
    {
      size: bytes.length,
      hasPiece: () => true,
      read: () => assert.fail('it reads into buffers of the pool'),
      readInto: async (into, offset) => {
        reads += 1
        into.set(bytes.subarray(offset, offset + into.length))
        await new Promise((done) => setTimeout(done, reads % 3))
        if (reads % 7 === 0) throw new Error('the disk')
      },
    },
    {
      pieceLength: 256 * KIB,
      budget: new ReadBudget(new BufferPool({ maxBytes: 4 * 1024 * KIB })),
    },
  )
  const asked = Array.from({ length: 600 }, () => ({
    index: Math.floor(Math.random() * 16),
    offset: Math.floor(Math.random() * 16) * 16 * KIB,
    length: 16 * KIB,
  }))
  let served = 0
  await mapConcurrently(asked, 24, async (request) => {
    const block = await copyOf(source, request).catch(() => undefined)
    const start = request.index * 256 * KIB + request.offset
    if (block) assert.ok(bytes.subarray(start, start + request.length).equals(block))
    if (block) served += 1
  })
  assert.ok(served > 300, `${served} blocks`)
})

async function copyOf(source: BlockSource, request: BlockRequest): Promise<Buffer> {
  let copy = Buffer.alloc(0)
  await source.readBlock(request, (block) => (copy = Buffer.from(block)))
  return copy
}

function view(changes: Partial<PickerView>): PickerView {
  return {
    pieceCount: 10,
    cursor: 0,
    window: 4,
    isWanted: () => true,
    isOffered: () => true,
    availability: () => 1,
    random: () => 0,
    ...changes,
  }
}
