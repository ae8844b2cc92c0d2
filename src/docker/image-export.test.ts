import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { makeImage, makeTar, saveEntries, type FixtureImage } from '../testing/archive-fixtures.ts'
import { DockerDaemon } from './docker-daemon.ts'
import { answerJson, startFakeEngine, type FakeAnswers } from '../testing/fake-engine.ts'
import { exportImages, type ExportOptions } from './image-export.ts'
import { MemoryBlobSink } from '../testing/memory-blob-sink.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures')
const ARCHIVE = join(FIXTURES, 'image-archives/docker-20.10-graphdriver.tar')
const BASE = {
  Id: 'sha256:cd49e2ebfd9e9507419dc223dee03fbf809bfbf33658e136b3d6251f93f7377a',
  RepoTags: ['example/base:1', 'example/base:stable'],
}
const APP = {
  Id: 'sha256:dc5894afbfe86eee36acf2f2d18a2649d00fe1604a7c19ae62292da3f23e035d',
  RepoTags: ['registry.example/app:2'],
}

/** Answers of an engine that holds the images of the fixture. */
function inspections(...images: { Id: string; RepoTags: string[] }[]): FakeAnswers {
  return Object.fromEntries(
    images.flatMap((image) =>
      [image.Id, ...image.RepoTags, ...image.RepoTags.map((name) => name.replace(/:1$/, ''))].map(
        (name) => [
          `GET /images/${name}/json`,
          (_request: unknown, response: Parameters<typeof answerJson>[0]) =>
            answerJson(response, image),
        ],
      ),
    ),
  )
}

const archiveOf = (path: string): FakeAnswers => ({
  'GET /images/get': async (_request, response) => await pipeline(createReadStream(path), response),
})

async function runExport(
  answers: FakeAnswers,
  options: Partial<ExportOptions> & Pick<ExportOptions, 'names'>,
) {
  await using engine = await startFakeEngine(answers)
  const daemon = await DockerDaemon.connect({ host: engine.host })
  const sink = new MemoryBlobSink()
  const images = await exportImages({ daemon, sink, ...options })
  const exports = engine.requests
    .filter((request) => request.startsWith('GET /images/get'))
    .map((request) => new URL(request.slice(4), 'http://engine').searchParams.getAll('names'))
  return { images, sink, exports }
}

test('exports images in one request by their IDs, each once, under the names asked for', async () => {
  const { images, exports, sink } = await runExport(
    { ...inspections(BASE, APP), ...archiveOf(ARCHIVE) },
    { names: ['example/base:1', 'example/base', APP.Id, 'example/base:1', BASE.Id] },
  )
  assert.deepEqual(
    exports.map((names) => names.toSorted()),
    [[BASE.Id, APP.Id]],
  )
  const found = images.map(({ manifest, names }) => [manifest.digest, names] as const)
  assert.deepEqual(
    found.toSorted(([a], [b]) => (a < b ? -1 : 1)),
    [
      ['sha256:466d80dc4a81b6d6be4c970471073016e2b07686149ee9b383ca4d0a6a07eea5', []],
      [
        'sha256:9d5933e85cc64e5c7a941ff558646693e32509d9e2ad87c69be444af8e1474d1',
        ['example/base:1', 'example/base'],
      ],
    ],
  )
  assert.equal(sink.blobs.size, 6)
})

test('finds images of a containerd store by the digest of their root', async () => {
  const image = {
    Id: 'sha256:77c747a7ae2a749c963bcdb04ee18a355f0b645e3fc37a908d99900a1ea9818c',
    RepoTags: ['registry.example/platforms:3'],
  }
  const { images } = await runExport(
    {
      ...inspections(image),
      ...archiveOf(join(FIXTURES, 'image-archives/docker-28.5-containerd-platforms.tar')),
    },
    { names: ['registry.example/platforms:3'] },
  )
  assert.deepEqual(
    images.map(({ manifest, names }) => [manifest.digest, names]),
    [[image.Id, image.RepoTags]],
  )
})

test('leaves known images out, and asks for nothing when all are known', async () => {
  const answers = { ...inspections(BASE, APP), ...archiveOf(ARCHIVE) }
  const names = ['example/base:1', 'registry.example/app:2']
  const some = await runExport(answers, { names, isKnown: (id) => id === BASE.Id })
  assert.deepEqual(some.exports, [[APP.Id]])
  assert.deepEqual(
    some.images.map((image) => image.names),
    [['registry.example/app:2']],
  )
  const none = await runExport(answers, { names, isKnown: async () => true })
  assert.deepEqual([none.images, none.exports], [[], []])
})

test('reads the files of the classic store where they are on this host', async () => {
  const { images, exports, sink } = await runExport(
    {
      ...inspections(APP),
      'GET /info': (_request, response) =>
        answerJson(response, {
          Driver: 'overlay2',
          DockerRootDir: join(FIXTURES, 'graphdriver-store'),
        }),
    },
    { names: ['registry.example/app:2'] },
  )
  assert.deepEqual(exports, [])
  assert.equal(
    images[0]?.manifest.digest,
    'sha256:466d80dc4a81b6d6be4c970471073016e2b07686149ee9b383ca4d0a6a07eea5',
  )
  assert.equal(sink.blobs.size, 4)
})

test('asks the engine when its files are not as expected', async () => {
  const info = { Driver: 'overlay2', DockerRootDir: join(FIXTURES, 'graphdriver-store') }
  const { exports, images } = await runExport(
    {
      // The store of the fixture holds only the other image.
      ...inspections(BASE),
      ...archiveOf(ARCHIVE),
      'GET /info': (_request, response) => answerJson(response, info),
    },
    { names: ['example/base:1'] },
  )
  assert.deepEqual(exports, [[BASE.Id]])
  assert.equal(images.length, 1)
})

/** Answers of an engine that holds many images, and exports those asked for. */
async function manyImages(count: number) {
  const made = await Promise.all(
    Array.from({ length: count }, async (_, index) => await makeImage('base', `${index}`)),
  )
  const byId = new Map<string, FixtureImage>(made.map((image) => [image.imageId, image]))
  const answers: FakeAnswers = {
    ...inspections(
      ...made.map(({ imageId }, index) => ({ Id: imageId, RepoTags: [`i${index}:2`] })),
    ),
    'GET /images/get': async (request, response) => {
      const ids = new URL(request.url ?? '', 'http://engine').searchParams.getAll('names')
      const chosen = ids.map((id) => byId.get(id)).filter((image) => image !== undefined)
      if (chosen.length < ids.length) answerJson(response, { message: 'No such image' }, 404)
      else response.end(await makeSave(chosen))
    },
  }
  return { made, byId, answers, names: made.map((_, index) => `i${index}:2`) }
}

/** One `docker save` archive of several images. */
async function makeSave(images: readonly FixtureImage[]): Promise<Buffer> {
  const entries = images.map((image) => saveEntries(image))
  const table = entries.flatMap((list, index) => {
    const text = list.find(({ name }) => name === 'manifest.json')?.content?.toString() ?? ''
    return JSON.parse(
      text.replaceAll('layer', `i${index}-layer`).replaceAll(/i\d+-layer\.tar/g, 'layer.tar'),
    ) as object[]
  })
  const files = entries.flatMap((list, index) =>
    list
      .filter(({ name }) => name !== 'manifest.json')
      .map((entry) => ({ ...entry, name: entry.name.replace(/^layer/, `i${index}-layer`) })),
  )
  return await makeTar([...files, { name: 'manifest.json', content: JSON.stringify(table) }])
}

test('asks for many images in bounded batches', async () => {
  const { answers, names, made } = await manyImages(45)
  const { images, exports } = await runExport(answers, { names })
  assert.deepEqual(
    exports.map(({ length }) => length),
    [20, 20, 5],
  )
  assert.deepEqual(
    new Set(images.map(({ manifest }) => manifest.digest)),
    new Set(made.map(({ manifest }) => digestOf(manifest))),
  )
  assert.deepEqual(images.flatMap((image) => image.names).toSorted(), names.toSorted())
})

test('goes on without an image that fails when somebody listens for failures', async () => {
  const { answers, names, made, byId } = await manyImages(3)
  byId.delete(made[1]?.imageId ?? '')
  const failures: unknown[] = []
  const { images } = await runExport(answers, {
    names: [...names, 'unknown:1'],
    onFailure: (failed, error) => failures.push([failed, (error as { code: string }).code]),
  })
  assert.deepEqual(images.flatMap((image) => image.names).toSorted(), ['i0:2', 'i2:2'])
  assert.deepEqual(failures, [
    [['unknown:1'], 'IMAGE_UNKNOWN'],
    [['i1:2'], 'IMAGE_UNKNOWN'],
  ])
})

test('says which image an export lacks', async () => {
  const { answers, names, made } = await manyImages(2)
  const tar = await makeSave(made.slice(0, 1))
  const failures: unknown[] = []
  const seen: string[][] = []
  const { images } = await runExport(
    { ...answers, 'GET /images/get': (_request, response) => response.end(tar) },
    {
      names,
      onImage: async (image) => void seen.push(image.names),
      onFailure: (failed, error) => failures.push([failed, (error as { code: string }).code]),
    },
  )
  assert.deepEqual(
    images.map((image) => image.names),
    [['i0:2']],
  )
  assert.deepEqual(seen, [['i0:2']])
  assert.deepEqual(failures, [[['i1:2'], 'ENGINE_FAILED']])
})

test('lets a failure of who gets the images pass unchanged, and tries nothing again', async () => {
  const { answers, names } = await manyImages(2)
  const failure = new Error('catalog gone')
  let calls = 0
  const running = runExport(answers, {
    names,
    onFailure: () => undefined,
    onImage: () => {
      calls += 1
      throw failure
    },
  })
  await assert.rejects(running, (error) => error === failure)
  assert.equal(calls, 1)
})

test('throws the first failure when nobody listens for failures', async () => {
  const { answers, names } = await manyImages(2)
  await assert.rejects(runExport(answers, { names: [...names, 'unknown:1'] }), {
    code: 'IMAGE_UNKNOWN',
  })
})

test('tells how far it is', async () => {
  const { answers, names } = await manyImages(2)
  const seen: { imagesDone: number; imageCount: number; bytes: number }[] = []
  await runExport(answers, { names, onProgress: (progress) => seen.push(progress) })
  assert.deepEqual(seen[0], { imagesDone: 0, imageCount: 2, bytes: 0 })
  const last = seen.at(-1)
  assert.deepEqual([last?.imagesDone, last?.imageCount], [2, 2])
  assert.ok(seen.every(({ bytes }, index) => bytes >= (seen[index - 1]?.bytes ?? 0)))
})

test('stops at once when the engine stops', async () => {
  const { answers, names } = await manyImages(3)
  const failures: unknown[] = []
  const running = runExport(
    {
      ...answers,
      'GET /images/get': (_request, response) => {
        response.write(Buffer.alloc(512))
        setImmediate(() => response.destroy())
      },
    },
    { names, onFailure: (failed) => failures.push(failed) },
  )
  await assert.rejects(running, { code: 'ENGINE_UNAVAILABLE' })
  assert.deepEqual(failures, [])
})
