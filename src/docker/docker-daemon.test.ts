import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { test } from 'node:test'

import { DockerDaemon } from './docker-daemon.ts'
import { answerJson, startFakeEngine, type FakeAnswers } from '../testing/fake-engine.ts'

const ID = `sha256:${'a'.repeat(64)}`

async function openEngine(answers: FakeAnswers) {
  const stack = new AsyncDisposableStack()
  const engine = stack.use(await startFakeEngine(answers))
  const daemon = await DockerDaemon.connect({ host: engine.host })
  return { engine, daemon, [Symbol.asyncDispose]: async () => await stack.disposeAsync() }
}

test('describes an engine with the classic store', async () => {
  await using fixture = await openEngine({})
  assert.deepEqual(await fixture.daemon.describe(), {
    version: '20.10.24',
    apiVersion: '1.41',
    store: 'graphdriver',
    driver: 'overlay2',
    rootDir: '/nowhere',
    id: 'ABCD',
  })
  assert.equal(fixture.daemon.host, fixture.engine.host)
  assert.equal(fixture.daemon.isLocal, true)
})

test('tells the containerd store by its driver type', async () => {
  const info = { DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']] }
  await using fixture = await openEngine({
    'GET /info': (_request, response) => answerJson(response, info),
  })
  assert.equal((await fixture.daemon.describe()).store, 'containerd')
})

test('lists images, dangling ones without names', async () => {
  const dangling = { Id: ID, RepoTags: ['<none>:<none>'], RepoDigests: ['<none>@<none>'], Size: 5 }
  const named = { Id: ID, RepoTags: ['app:1', 'app:2'], RepoDigests: [`app@${ID}`], Size: 7 }
  const nameless = { Id: ID, RepoTags: null, RepoDigests: null }
  const list = [dangling, named, nameless, { Id: 'nonsense' }, null]
  await using fixture = await openEngine({
    'GET /images/json': (_request, response) => answerJson(response, list),
  })
  assert.deepEqual(await fixture.daemon.listImages(), [
    { id: ID, names: [], repoDigests: [], size: 5 },
    { id: ID, names: ['app:1', 'app:2'], repoDigests: [`app@${ID}`], size: 7 },
    { id: ID, names: [], repoDigests: [], size: 0 },
  ])
})

test('inspects an image whose name has slashes', async () => {
  const details = {
    Id: ID,
    RepoTags: ['ghcr.io/o/x:1'],
    RootFS: { Layers: [ID] },
    Os: 'linux',
    Architecture: 'arm64',
  }
  await using fixture = await openEngine({
    'GET /images/ghcr.io/o/x:1/json': (_request, response) => answerJson(response, details),
  })
  assert.deepEqual(await fixture.daemon.inspect('ghcr.io/o/x:1'), {
    id: ID,
    names: ['ghcr.io/o/x:1'],
    repoDigests: [],
    size: 0,
    diffIds: [ID],
    os: 'linux',
    architecture: 'arm64',
  })
})

test('says IMAGE_UNKNOWN with the words of the engine', async () => {
  await using fixture = await openEngine({})
  const { daemon } = fixture
  const expected = { code: 'IMAGE_UNKNOWN', message: /no such image/ }
  await assert.rejects(daemon.inspect('app:1'), expected)
  await assert.rejects(daemon.exportImages(['app:1']), expected)
  await assert.rejects(daemon.tagImage('app:1', 'b:2'), expected)
  await assert.rejects(daemon.removeImage('app:1'), expected)
})

test('never puts into a request what is no image name', async () => {
  await using fixture = await openEngine({})
  for (const name of ['../info', 'a/../../info', 'a?b', 'a b', 'a%2e', 'a//b', '', './a', 'a/.']) {
    await assert.rejects(fixture.daemon.inspect(name), { code: 'IMAGE_UNKNOWN' })
  }
  assert.deepEqual(fixture.engine.requests, [])
})

test('tags and removes with the parameters that engines take', async () => {
  const created = (_request: IncomingMessage, response: ServerResponse) =>
    response.writeHead(201).end()
  await using fixture = await openEngine({
    'POST /images/127.0.0.1:5151/o/x:1/tag': created,
    'DELETE /images/127.0.0.1:5151/o/x:1': (_request, response) => answerJson(response, []),
  })
  const { daemon, engine } = fixture
  await daemon.tagImage('127.0.0.1:5151/o/x:1', 'ghcr.io:443/o/x:1')
  await daemon.tagImage('127.0.0.1:5151/o/x:1', 'ghcr.io:443/o/x')
  await daemon.removeImage('127.0.0.1:5151/o/x:1', { noPrune: true })
  assert.deepEqual(engine.requests, [
    'POST /images/127.0.0.1:5151/o/x:1/tag?repo=ghcr.io%3A443%2Fo%2Fx&tag=1',
    'POST /images/127.0.0.1:5151/o/x:1/tag?repo=ghcr.io%3A443%2Fo%2Fx&tag=latest',
    'DELETE /images/127.0.0.1:5151/o/x:1?noprune=1',
  ])
})

test('exports many images in one request', async () => {
  await using fixture = await openEngine({
    'GET /images/get': (_request, response) => response.end('the tar'),
  })
  const tar = await fixture.daemon.exportImages(['app:1', ID])
  assert.equal(await text(tar), 'the tar')
  assert.deepEqual(fixture.engine.requests, [
    `GET /images/get?names=app%3A1&names=${encodeURIComponent(ID)}`,
  ])
})

test('says ENGINE_UNAVAILABLE when the engine stops in the middle of an export', async () => {
  await using fixture = await openEngine({
    'GET /images/get': (_request, response) => {
      response.write('half of a')
      setImmediate(() => response.destroy())
    },
  })
  const tar = await fixture.daemon.exportImages(['app:1'])
  await assert.rejects(buffer(tar), {
    code: 'ENGINE_UNAVAILABLE',
    message: /export app:1: aborted/,
  })
})

test('says ENGINE_FAILED when the engine ends an export with a failure', async () => {
  const failure = { errorDetail: { message: 'no space left' }, error: 'no space left' }
  await using fixture = await openEngine({
    'GET /images/get': (_request, response) => {
      response.write('half of a tar')
      setImmediate(() => response.end(`${JSON.stringify(failure)}\r\n`))
    },
  })
  const tar = await fixture.daemon.exportImages(['app:1'])
  await assert.rejects(buffer(tar), { code: 'ENGINE_FAILED', message: /no space left/ })
})

test('passes bytes on that only look like a failure', async () => {
  const looks = '{"errorDetail":{"message":"a file in a layer"}}'
  for (const tar of [
    `${looks}${'\0'.repeat(1024)}`,
    `${looks} and so on`,
    'x{"errorDetail":',
    '',
  ]) {
    await using fixture = await openEngine({
      'GET /images/get': (_request, response) => response.end(tar),
    })
    assert.equal(await text(await fixture.daemon.exportImages(['app:1'])), tar)
  }
})

for (const [what, drop] of [
  [
    'to its end',
    async (tar: Readable) => assert.ok(!(await tar[Symbol.asyncIterator]().next()).done),
  ],
  ['at all', async () => undefined],
] as const) {
  test(`ends the request when an export is not read ${what}`, async () => {
    const closed = Promise.withResolvers<undefined>()
    await using fixture = await openEngine({
      'GET /images/get': (_request, response) => {
        response.on('close', () => closed.resolve(undefined))
        response.write(Buffer.alloc(1024 * 1024))
      },
    })
    const tar = await fixture.daemon.exportImages(['app:1'])
    await drop(tar)
    tar.destroy()
    await closed.promise
  })
}

test('loads a tar and says which images came', async () => {
  let received = ''
  await using fixture = await openEngine({
    'POST /images/load': async (request, response) => {
      received = await text(request)
      response.write('{"status":"Loading layer","id":"abc"}\r\n{"stream":"Loaded im')
      response.end(`age: app:1\\nLoaded image ID: ${ID}\\n"}\r\n{"stream":"Loaded image: b:2"}`)
    },
  })
  const tar = Readable.from(['a ', 'tar'], { objectMode: false })
  assert.deepEqual(await fixture.daemon.loadImages(tar), ['app:1', ID, 'b:2'])
  assert.equal(received, 'a tar')
  assert.deepEqual(fixture.engine.requests, ['POST /images/load?quiet=1'])
  assert.ok(tar.destroyed)
})

test('says ENGINE_FAILED when a load fails behind a good status', async () => {
  await using fixture = await openEngine({
    'POST /images/load': async (request, response) => {
      await text(request)
      response.write('{"status":"Loading layer"}\r\n')
      response.end('{"errorDetail":{"message":"invalid diffID"},"error":"invalid diffID"}\r\n')
    },
  })
  const loading = fixture.daemon.loadImages(Readable.from([Buffer.from('tar')]))
  await assert.rejects(loading, { code: 'ENGINE_FAILED', message: 'engine: load: invalid diffID' })
})

test('closes the request when the engine refuses a tar that it has not read', async () => {
  const closed = Promise.withResolvers<undefined>()
  await using fixture = await openEngine({
    'POST /images/load': (request, response) => {
      request.on('error', () => undefined)
      request.socket.on('close', () => closed.resolve(undefined))
      answerJson(response, { message: 'read-only' }, 500)
    },
  })
  const tar = Readable.from(
    (async function* () {
      for (;;) yield Buffer.alloc(65_536)
    })(),
    { objectMode: false },
  )
  await assert.rejects(fixture.daemon.loadImages(tar), {
    code: 'ENGINE_FAILED',
    message: 'engine: load: read-only',
  })
  await closed.promise
})

test('lets a failure of the tar that is loaded pass unchanged', async () => {
  const failure = new Error('blob gone')
  await using fixture = await openEngine({
    'POST /images/load': (request) => request.on('error', () => undefined).resume(),
  })
  async function* broken() {
    yield Buffer.alloc(100)
    throw failure
  }
  const loading = fixture.daemon.loadImages(Readable.from(broken(), { objectMode: false }))
  await assert.rejects(loading, (error) => error === failure)
})

test('says ENGINE_UNAVAILABLE when the engine stops in the middle of a load', async () => {
  await using fixture = await openEngine({
    'POST /images/load': (request) => request.once('data', () => request.destroy()),
  })
  const endless = Readable.from(
    (async function* () {
      for (;;) yield Buffer.alloc(65_536)
    })(),
    { objectMode: false },
  )
  await assert.rejects(fixture.daemon.loadImages(endless), { code: 'ENGINE_UNAVAILABLE' })
  assert.ok(endless.destroyed)
})

test('gives up an answer that does not come, and one that does not end', async () => {
  await using engine = await startFakeEngine({
    'GET /images/json': () => undefined,
    'GET /images/app:1/json': (_request, response) => response.write('{"Id":'),
  })
  const daemon = await DockerDaemon.connect({ host: engine.host, answerMs: 100 })
  const expected = { code: 'ENGINE_UNAVAILABLE', message: /no answer in time/ }
  await assert.rejects(daemon.listImages(), expected)
  await assert.rejects(daemon.inspect('app:1'), expected)
  const events = daemon.events()
  await events.return()
})

test('throws the reason of a signal, whatever is under way', async () => {
  const reason = new Error('enough')
  const hang = () => undefined
  await using fixture = await openEngine({
    'GET /images/json': hang,
    'GET /images/get': (_request, response) => response.write('begin'),
    'POST /images/load': hang,
  })
  const { daemon } = fixture
  const controller = new AbortController()
  const { signal } = controller
  const tar = await daemon.exportImages(['app:1'], { signal })
  const waiting = [
    daemon.listImages({ signal }),
    daemon.exportImages(['app:1'], { signal }).then(buffer),
    buffer(tar),
    daemon.loadImages(Readable.from([Buffer.from('tar')]), { signal }),
  ]
  setImmediate(() => controller.abort(reason))
  for (const settled of await Promise.allSettled(waiting)) {
    assert.deepEqual(settled, { status: 'rejected', reason })
  }
})

test('says ENGINE_FAILED for what is no engine', async () => {
  await using engine = await startFakeEngine({
    'GET /version': (_request, response) => response.end('<html>'),
  })
  await assert.rejects(DockerDaemon.connect({ host: engine.host }), { code: 'ENGINE_FAILED' })
})

test('says ENGINE_FAILED with the words of the engine when it answers 500', async () => {
  await using fixture = await openEngine({
    'GET /images/json': (_request, response) => answerJson(response, { message: 'boom' }, 500),
  })
  await assert.rejects(fixture.daemon.listImages(), {
    code: 'ENGINE_FAILED',
    message: 'engine: list: boom',
  })
})

test('says ENGINE_UNAVAILABLE where no engine listens', async () => {
  const engine = await startFakeEngine()
  await engine.stop()
  const expected = { code: 'ENGINE_UNAVAILABLE', message: new RegExp(engine.host) }
  await assert.rejects(DockerDaemon.connect({ host: engine.host }), expected)
  await engine[Symbol.asyncDispose]()
  await assert.rejects(DockerDaemon.connect({ host: engine.host }), expected)
  await assert.rejects(DockerDaemon.connect({ host: 'tcp://127.0.0.1:1' }), {
    code: 'ENGINE_UNAVAILABLE',
  })
})
