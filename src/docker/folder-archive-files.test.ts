import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'

import { digestOf } from '../oci/digest.ts'
import {
  blobEntry,
  describe,
  layoutEntries,
  makeCompressedImage,
  makeImage,
  MANIFEST_TYPE,
  saveEntries,
  type FixtureEntry,
} from '../testing/archive-fixtures.ts'
import { importPath, readImageLayout } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

async function makeFolder(t: TestContext, entries: readonly FixtureEntry[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ddocker-layout-'))
  t.after(async () => await rm(folder, { recursive: true }))
  for (const { name, content } of entries) {
    if (content === undefined) continue
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
  return folder
}

async function makeLayout() {
  const { manifest, config, layers } = await makeCompressedImage('a', 'b')
  const entries = layoutEntries([describe(manifest, MANIFEST_TYPE)], [manifest, config, ...layers])
  const [first = Buffer.alloc(0)] = layers
  return { entries, manifest, config, first }
}

test('reads an image layout in a folder, its layers before its manifest', async (t) => {
  const { entries, manifest } = await makeLayout()
  const stray = Buffer.from('nobody refers to this')
  const folder = await makeFolder(t, [...entries, blobEntry(stray)])
  const sink = new MemoryBlobSink()
  const images = await importPath(folder, sink)
  assert.deepEqual(
    images.map((image) => image.manifest.digest),
    [digestOf(manifest)],
  )
  assert.equal(sink.ingested.at(-1), digestOf(manifest))
  assert.ok(!sink.blobs.has(digestOf(stray)), 'only what an image needs is taken')
})

test('reads an unpacked `docker save` archive', async (t) => {
  const image = await makeImage('a', 'b')
  const folder = await makeFolder(t, saveEntries(image, ['app:1']))
  const images = await importPath(folder, new MemoryBlobSink())
  assert.deepEqual(
    images.map(({ manifest, names }) => [manifest.digest, names]),
    [[digestOf(image.manifest), ['app:1']]],
  )
})

test('follows a link that stays inside the folder', async (t) => {
  const { entries, first, manifest } = await makeLayout()
  const { name } = blobEntry(first)
  const folder = await makeFolder(t, [...entries, { name: 'elsewhere', content: first }])
  await rm(join(folder, name))
  await symlink('../../elsewhere', join(folder, name))
  const images = await readImageLayout(folder, new MemoryBlobSink())
  assert.equal(images[0]?.manifest.digest, digestOf(manifest))
})

test('refuses a link that leaves the folder', async (t) => {
  const { entries, first } = await makeLayout()
  const outside = await makeFolder(t, [{ name: 'layer', content: first }])
  const folder = await makeFolder(t, entries)
  await rm(join(folder, blobEntry(first).name))
  await symlink(join(outside, 'layer'), join(folder, blobEntry(first).name))
  await assert.rejects(readImageLayout(folder, new MemoryBlobSink()), {
    code: 'ARCHIVE_INVALID',
    message: /leaves the archive/,
  })
})

test('refuses a pipe in place of a blob, and does not wait for it', async (t) => {
  const { entries, first } = await makeLayout()
  const folder = await makeFolder(t, entries)
  const path = join(folder, blobEntry(first).name)
  await rm(path)
  await promisify(execFile)('mkfifo', [path])
  await assert.rejects(readImageLayout(folder, new MemoryBlobSink()), {
    code: 'ARCHIVE_INVALID',
    message: /wanted a file/,
  })
})

test('refuses a layout without a blob, and one with other bytes', async (t) => {
  const { entries, first } = await makeLayout()
  const { name } = blobEntry(first)
  const absent = await makeFolder(
    t,
    entries.filter((entry) => entry.name !== name),
  )
  const wanted = digestOf(first)
  await assert.rejects(readImageLayout(absent, new MemoryBlobSink()), {
    code: 'ARCHIVE_INCOMPLETE',
    message: new RegExp(`wanted layer ${wanted}, found none`),
  })
  const other = await makeFolder(t, [...entries, { name, content: Buffer.alloc(first.length) }])
  await assert.rejects(readImageLayout(other, new MemoryBlobSink()), {
    code: 'BLOB_DIGEST_MISMATCH',
    message: new RegExp(`wanted ${wanted}, found sha256:`),
  })
})

test('refuses an oversized table in a folder', async (t) => {
  const folder = await makeFolder(t, [
    { name: 'index.json', content: Buffer.alloc(16 * 1024 * 1024 + 1) },
  ])
  await assert.rejects(readImageLayout(folder, new MemoryBlobSink()), {
    code: 'ARCHIVE_INVALID',
    message: /index.json": wanted at most 16777216 bytes/,
  })
})

test('says what is wrong with a path that cannot be imported', async (t) => {
  const folder = await makeFolder(t, [{ name: 'file', content: 'x' }])
  const sink = new MemoryBlobSink()
  for (const [path, message] of [
    [join(folder, 'absent'), /found nothing there/],
    [join(folder, 'file/below'), /ENOTDIR/],
    [join(folder, 'file'), /Unexpected end of data/],
    [folder, /found neither/],
  ] as const) {
    await assert.rejects(importPath(path, sink), { code: 'ARCHIVE_INVALID', message })
  }
  assert.equal(sink.blobs.size, 0)
})

test('throws the reason of its signal before anything is read', async (t) => {
  const folder = await makeFolder(t, (await makeLayout()).entries)
  const reason = new Error('enough')
  const reading = importPath(folder, new MemoryBlobSink(), { signal: AbortSignal.abort(reason) })
  await assert.rejects(reading, (error) => error === reason)
})
