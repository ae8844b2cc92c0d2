import assert from 'node:assert/strict'
import { test } from 'node:test'

import { release } from '../support/buffer-lender.ts'
import { SharedReads } from './shared-reads.ts'

const KIB = 1024
const CROWD = 1000
const FEW = 32

test('few readers read large ranges, many read small ones that fit together', () => {
  const reads = new SharedReads()
  const readers = enter(reads, FEW)
  assert.deepEqual([reads.isCrowded, reads.lengthAt(0)], [false, 256 * KIB])
  readers.push(...enter(reads, CROWD - FEW))
  assert.deepEqual([reads.isCrowded, reads.lengthAt(0)], [true, 32 * KIB])
  assert.equal(reads.lengthAt(100 * KIB), 28 * KIB)
  for (const reader of readers) reader[Symbol.dispose]()
  assert.equal(reads.lengthAt(0), 256 * KIB)
})

test('a crowd at one place of a source loads it once, and is given the same buffer', async () => {
  const reads = new SharedReads()
  enter(reads, CROWD)
  const { load, loads } = source()
  const range = { source: 'a', offset: 0, length: 4 }
  const found = await Promise.all(Array.from({ length: 10 }, () => reads.read(range, load)))
  const [first] = found
  assert.ok(found.every(({ buffer }) => buffer === first?.buffer))
  assert.equal((await reads.read({ ...range, length: 2 }, load)).length, 2)
  assert.equal(loads(), 1)
})

test('a read that would give less, or is of another source, is loaded anew', async () => {
  const reads = new SharedReads()
  enter(reads, CROWD)
  const { load, loads } = source()
  const [one, other] = [{}, {}]
  await reads.read({ source: one, offset: 0, length: 2 }, load)
  await reads.read({ source: one, offset: 0, length: 4 }, load)
  await reads.read({ source: other, offset: 0, length: 4 }, load)
  assert.equal(loads(), 3)
})

test('what failed for one reader is loaded again for the next', async () => {
  const reads = new SharedReads()
  enter(reads, CROWD)
  const range = { source: 'a', offset: 0, length: 4 }
  const failed = reads.read(range, () => Promise.reject(new Error('closed')))
  const loaded = reads.read(range, source().load)
  await assert.rejects(failed, /closed/)
  assert.equal((await loaded).length, 4)
})

test('few readers share nothing, and a crowd that has gone leaves nothing', async () => {
  const reads = new SharedReads()
  const { load, loads } = source()
  const range = { source: 'a', offset: 0, length: 4 }
  for (const reader of enter(reads, CROWD)) {
    await reads.read(range, load)
    reader[Symbol.dispose]()
  }
  const afterFirstCrowd = loads()
  enter(reads, CROWD)
  await reads.read(range, load)
  assert.equal(loads(), afterFirstCrowd + 1)
})

test('a buffer is used again when the last of its readers has released it, and nobody can ask for it', async () => {
  const reads = new SharedReads()
  enter(reads, CROWD)
  const { load } = source()
  const range = { source: 'a', offset: 0, length: 32 * KIB }
  const [first, second] = [await reads.read(range, load), await reads.read(range, load)]
  assert.equal(first.buffer, second.buffer)
  release(first)
  for (let index = 1; index <= 128; index += 1) {
    release(await reads.read({ ...range, offset: index * 32 * KIB }, load))
  }
  const next = async () => (await reads.read({ ...range, source: {} }, load)).buffer
  assert.notEqual(await next(), second.buffer)
  assert.ok(second.every((byte) => byte === 1))
  release(second)
  assert.equal(await next(), second.buffer)
})

test('a crowd that is spread over a blob has a bounded number of bytes kept for it', async () => {
  const reads = new SharedReads()
  enter(reads, CROWD)
  const { load, loads } = source()
  const read = (index: number) =>
    reads.read({ source: 'a', offset: index * 32 * KIB, length: 32 * KIB }, load)
  for (let index = 0; index < 129; index += 1) await read(index)
  await read(128)
  assert.equal(loads(), 129)
  await read(0)
  assert.equal(loads(), 130)
})

function enter(reads: SharedReads, count: number): Disposable[] {
  return Array.from({ length: count }, () => reads.enter())
}

function source(): { load: (bytes: Buffer) => Promise<void>; loads: () => number } {
  let loads = 0
  const load = async (bytes: Buffer): Promise<void> => {
    loads += 1
    bytes.fill(loads)
  }
  return { load, loads: () => loads }
}
