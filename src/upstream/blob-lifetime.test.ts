import assert from 'node:assert/strict'
import { test } from 'node:test'

import { answerBlobs, ranges } from '../testing/blob-answers.ts'
import { askAs, collect, openUpstreamFixture, QUICK_TIMES } from '../testing/upstream-fixture.ts'

const SIZE = 300_000

test('a reader that leaves early ends the connection', async () => {
  await using t = await openUpstreamFixture()
  const closed = Promise.withResolvers<void>()
  answerBlobs(t, (response) => {
    response.on('close', () => closed.resolve())
    response.writeHead(200, { 'content-length': SIZE })
    response.write(t.layer.subarray(0, 1000))
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest, size: SIZE }, askAs())
  assert.ok(blob)
  for await (const _ of blob.content) break
  await closed.promise
})

test('the signal ends a body, with its reason', async () => {
  await using t = await openUpstreamFixture()
  const closed = Promise.withResolvers<void>()
  answerBlobs(t, (response) => {
    response.on('close', () => closed.resolve())
    response.writeHead(200, { 'content-length': SIZE })
    response.write(t.layer.subarray(0, 1000))
  })
  const controller = new AbortController()
  const ask = { ...askAs(), signal: controller.signal }
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest, size: SIZE }, ask)
  assert.ok(blob)
  await assert.rejects(
    async () => {
      for await (const _ of blob.content) controller.abort(new Error('enough'))
    },
    { message: 'enough' },
  )
  await closed.promise
})

test('the signal ends a body that nobody has begun to read', async () => {
  await using t = await openUpstreamFixture()
  const closed = Promise.withResolvers<void>()
  answerBlobs(t, (response) => {
    response.on('close', () => closed.resolve())
    response.writeHead(200, { 'content-length': SIZE })
    response.write(t.layer.subarray(0, 1000))
  })
  const controller = new AbortController()
  const ask = { ...askAs(), signal: controller.signal }
  assert.ok(await t.upstream.blob(t.repository, { digest: t.layerDigest, size: SIZE }, ask))
  controller.abort()
  await closed.promise
})

test('a reader that does not read stops the registry, for as long as it likes', async () => {
  await using t = await openUpstreamFixture({
    upstream: (host) => ({ insecureHosts: [host], times: { ...QUICK_TIMES, bodyIdleMs: 500 } }),
  })
  const size = 64 * 1024 * 1024
  const chunk = Buffer.alloc(1024 * 1024)
  let sent = 0
  const stalled = Promise.withResolvers<void>()
  answerBlobs(t, (response) => {
    response.writeHead(200, { 'content-length': size })
    const send = () => {
      while (sent < size) {
        sent += chunk.length
        if (!response.write(chunk)) {
          response.once('drain', send)
          // the buffers between are full when the socket has not drained for a while
          setTimeout(() => response.writableNeedDrain && stalled.resolve(), 800)
          return
        }
      }
      response.end()
    }
    send()
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest, size }, askAs())
  assert.ok(blob)
  let bytes = 0
  for await (const part of blob.content) {
    if (bytes === 0) await stalled.promise
    if (bytes === 0) assert.ok(sent < size / 2, `the registry had sent ${sent} bytes`)
    bytes += part.length
  }
  assert.equal(bytes, size)
  assert.deepEqual(ranges(t), [undefined])
})

test('all blobs together keep to the limit', async () => {
  await using t = await openUpstreamFixture({
    upstream: (host) => ({ insecureHosts: [host], bytesPerSecond: 1_000_000 }),
  })
  const startedMs = performance.now()
  const read = async () => {
    const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
    assert.ok(blob)
    await collect(blob.content)
  }
  await Promise.all([read(), read()])
  // the second blob begins when what the first one took above the burst of 100 kB is paid back
  assert.ok(performance.now() - startedMs > 150)
})

test('closing ends what is under way, without resumes', async () => {
  await using t = await openUpstreamFixture({
    upstream: (host) => ({
      insecureHosts: [host],
      times: { ...QUICK_TIMES, firstPauseMs: 60_000, lastPauseMs: 60_000 },
    }),
  })
  answerBlobs(t, (response) => {
    response.writeHead(200, { 'content-length': SIZE })
    response.write(t.layer.subarray(0, 1000))
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest, size: SIZE }, askAs())
  assert.ok(blob)
  await assert.rejects(
    async () => {
      for await (const _ of blob.content) await t.upstream[Symbol.asyncDispose]()
    },
    { code: 'UPSTREAM_UNREACHABLE' },
  )
  assert.equal(ranges(t).length, 1)
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
    code: 'UPSTREAM_UNREACHABLE',
  })
})

test('connections are used again', async () => {
  await using t = await openUpstreamFixture()
  for (let count = 0; count < 5; count += 1) {
    await t.upstream.resolve(t.repository, '1', askAs())
    await t.upstream.resolve(t.repository, 'absent', askAs())
    const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
    assert.ok(blob)
    await collect(blob.content)
  }
  assert.equal(t.server.connectionCount, 2)
})
