import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'

import { parseDigest } from '../oci/digest.ts'
import { chainIdsOf, GraphdriverLayers } from './graphdriver-layers.ts'
import { importPath } from './image-archive.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures')
const STORE = join(FIXTURES, 'graphdriver-store')
const ID = parseDigest('sha256:dc5894afbfe86eee36acf2f2d18a2649d00fe1604a7c19ae62292da3f23e035d')
const CHAIN = '14e5444467f054b7477f33fd49d01ab52f917db5b71ba0d53804450e1bbd62f8'
const LAYER = join('image/overlay2/layerdb/sha256', CHAIN)
const IMAGE = { id: ID, names: ['registry.example/app:2'] }

async function openStore(path = STORE): Promise<GraphdriverLayers> {
  const layers = await GraphdriverLayers.open(path)
  assert.ok(layers)
  return layers
}

/** A copy of the fixture, to be spoiled, and where the top layer has its files. */
async function copyStore(t: TestContext): Promise<{ store: string; notes: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'ddocker-store-'))
  t.after(async () => await rm(folder, { recursive: true }))
  await cp(STORE, folder, { recursive: true })
  for (const cacheId of await readdir(join(folder, 'overlay2'))) {
    const files = await readdir(join(folder, 'overlay2', cacheId, 'diff'))
    if (files.includes('srv')) {
      return { store: folder, notes: join(folder, 'overlay2', cacheId, 'diff/srv/notes.txt') }
    }
  }
  throw new Error('the fixture has no top layer')
}

test('makes from the files of the store what the export of the engine makes', async () => {
  const [read, exported] = [new MemoryBlobSink(), new MemoryBlobSink()]
  const image = await (await openStore()).readImage(IMAGE, read)
  const archive = join(FIXTURES, 'image-archives/docker-20.10-graphdriver.tar')
  const images = await importPath(archive, exported)
  assert.deepEqual(
    image,
    images.find(({ names }) => names.includes('registry.example/app:2')),
  )
  for (const [digest, content] of read.blobs) assert.deepEqual(exported.blobs.get(digest), content)
})

test('does not touch a layer that the sink has', async (t) => {
  const { store } = await copyStore(t)
  const sink = new MemoryBlobSink()
  const first = await (await openStore(store)).readImage(IMAGE, sink)
  await rm(join(store, 'overlay2'), { recursive: true })
  await rm(join(store, 'image/overlay2/layerdb'), { recursive: true })
  sink.ingested.length = 0
  assert.deepEqual(await (await openStore(store)).readImage(IMAGE, sink), first)
  assert.deepEqual(sink.ingested, [])
})

test('opens nothing where the files cannot be read', async () => {
  assert.equal(await GraphdriverLayers.open('/nowhere'), undefined)
  assert.equal(await GraphdriverLayers.open(join(STORE, 'image')), undefined)
})

type Spoiling = readonly [string, object, (store: string, notes: string) => Promise<void>]

const SPOILED: readonly Spoiling[] = [
  [
    'a file with other bytes',
    { code: 'BLOB_DIGEST_MISMATCH' },
    async (_store, notes) => await writeFile(notes, 'notes of the ape\n'),
  ],
  [
    'a file of another size',
    { code: 'ARCHIVE_INVALID', message: /wanted 17 bytes, found 2 bytes/ },
    async (_store, notes) => await writeFile(notes, 'xx'),
  ],
  ['an absent file', { code: 'ENOENT' }, async (_store, notes) => await unlink(notes)],
  [
    'a link in place of a file',
    { code: 'ELOOP' },
    async (_store, notes) => {
      await unlink(notes)
      await symlink('/etc/hostname', notes)
    },
  ],
  [
    'a pipe in place of a file',
    { code: 'ARCHIVE_INVALID', message: /found no file/ },
    async (_store, notes) => {
      await unlink(notes)
      await promisify(execFile)('mkfifo', [notes])
    },
  ],
  [
    'a folder that leads out of the layer',
    { code: 'ARCHIVE_INVALID', message: /wanted one inside/ },
    async (_store, notes) => {
      await rm(join(notes, '..'), { recursive: true })
      await symlink('/etc', join(notes, '..'))
    },
  ],
  [
    'another diffID',
    { code: 'ARCHIVE_INVALID' },
    async (store) => await writeFile(join(store, LAYER, 'diff'), `sha256:${'0'.repeat(64)}`),
  ],
  [
    'a cache ID that climbs',
    { code: 'ARCHIVE_INVALID', message: /wanted a cache ID/ },
    async (store) => await writeFile(join(store, LAYER, 'cache-id'), '../../etc'),
  ],
  [
    'a config with other bytes',
    { code: 'BLOB_DIGEST_MISMATCH' },
    async (store) =>
      await writeFile(
        join(store, 'image/overlay2/imagedb/content/sha256', ID.slice('sha256:'.length)),
        '{}',
      ),
  ],
  [
    'a damaged tar-split',
    { code: 'Z_BUF_ERROR' },
    tarSplit(Buffer.from('1f8b08000000ffff', 'hex')),
  ],
  ['a tar-split of garbage', { code: 'ARCHIVE_INVALID' }, tarSplit(gzipSync('garbage\n'))],
  [
    'a tar-split that names a file outside',
    { code: 'ARCHIVE_INVALID', message: /wanted a name inside the layer/ },
    tarSplit(gzipSync('{"type":1,"name":"../../etc/passwd","size":5}\n')),
  ],
]

function tarSplit(content: Buffer) {
  return async (store: string) => await writeFile(join(store, LAYER, 'tar-split.json.gz'), content)
}

for (const [what, expected, spoil] of SPOILED) {
  test(`refuses a store with ${what}`, async (t) => {
    const { store, notes } = await copyStore(t)
    await spoil(store, notes)
    const layers = await openStore(store)
    const sink = new MemoryBlobSink()
    await assert.rejects(layers.readImage(IMAGE, sink), expected)
    assert.ok(!sink.blobs.has(ID), 'the config of an image that failed is not kept')
  })
}

test('throws the reason of its signal', async () => {
  const reason = new Error('enough')
  const signal = AbortSignal.abort(reason)
  const reading = (await openStore()).readImage(IMAGE, new MemoryBlobSink(), { signal })
  await assert.rejects(reading, (error) => error === reason)
})

test('chains layer IDs as the image-spec says', () => {
  const diffIds = ['a', 'b', 'c'].map((digit) => parseDigest(`sha256:${digit.repeat(64)}`))
  // printf '%s %s' sha256:aaa… sha256:bbb… | sha256sum, and so on
  assert.deepEqual(chainIdsOf(diffIds), [`sha256:${'a'.repeat(64)}`, CHAIN_OF_TWO, CHAIN_OF_THREE])
  assert.deepEqual(chainIdsOf([]), [])
})

const CHAIN_OF_TWO = 'sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c'
const CHAIN_OF_THREE = 'sha256:c1377126441fb2f5ec2c21ae2a60255331d639e830f0ee1b40a36e52d4c40588'
