import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'

import { array, assert as check, asyncProperty, constantFrom, nat } from 'fast-check'

import { isOperationError } from '../errors.ts'
import { inPieces, makeImage, makeTar, saveEntries, withSize } from '../testing/archive-fixtures.ts'
import { readImageArchive } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

const saved = saveEntries(await makeImage('a', 'b'), ['app:1'])

test('refuses a tar that is cut off, wherever that is', async () => {
  const tar = await makeTar(saved)
  for (let length = 0; length < tar.length - 2048; length += 397) {
    const reading = readImageArchive(inPieces(tar.subarray(0, length)), new MemoryBlobSink())
    await assert.rejects(reading, { name: 'OperationError', code: /ARCHIVE_(INVALID|INCOMPLETE)/ })
  }
})

test('refuses compressed bytes that are cut off or damaged', async () => {
  const tar = await makeTar(saved)
  for (const compress of [gzipSync, zstdCompressSync]) {
    const whole = compress(tar)
    const damaged = Buffer.from(whole)
    damaged.fill(0xff, whole.length >> 1, (whole.length >> 1) + 8)
    for (const bytes of [whole.subarray(0, whole.length - 20), damaged]) {
      const reading = readImageArchive(inPieces(bytes), new MemoryBlobSink())
      await assert.rejects(reading, { name: 'OperationError', code: 'ARCHIVE_INVALID' })
    }
  }
})

test('refuses an oversized table by its header, before its bytes come', async () => {
  const header = (await makeTar([{ name: 'index.json', content: '' }])).subarray(0, 512)
  async function* source() {
    yield withSize(header, 8 * 1024 ** 3 - 1)
    throw new Error('read on')
  }
  await assert.rejects(readImageArchive(source(), new MemoryBlobSink()), {
    code: 'ARCHIVE_INVALID',
    message: /index.json": wanted at most 16777216 bytes, found 8589934591/,
  })
})

test('says in which way an archive is compressed when it cannot read that', async () => {
  const xz = Buffer.from('fd377a585a000004e6d6b446', 'hex')
  await assert.rejects(readImageArchive(inPieces(xz), new MemoryBlobSink()), {
    code: 'ARCHIVE_INVALID',
    message: /gzip or zstd, found xz/,
  })
})

test('answers damaged archives with nothing but its own codes', async () => {
  const folder = join(import.meta.dirname, '../../fixtures/image-archives')
  const files = ['docker-20.10-graphdriver.tar', 'docker-28.5-containerd-platforms.tar']
  const archives = await Promise.all(files.map(async (file) => await readFile(join(folder, file))))
  const codes = new Set(['ARCHIVE_INVALID', 'ARCHIVE_INCOMPLETE', 'BLOB_DIGEST_MISMATCH'])
  const damage = array(nat(), { minLength: 1, maxLength: 8 })
  await check(
    asyncProperty(constantFrom(...archives), damage, async (archive, places) => {
      const damaged = Buffer.from(archive)
      for (const place of places) damaged[place % archive.length] = (place >> 8) & 0xff
      try {
        await readImageArchive(inPieces(damaged), new MemoryBlobSink())
      } catch (error) {
        assert.ok(isOperationError(error) && codes.has(error.code), String(error))
      }
    }),
    { numRuns: 100 },
  )
})
