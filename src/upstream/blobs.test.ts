import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { answerBlobs, ranges, sendAndBreak } from '../testing/blob-answers.ts'
import {
  askAs,
  collect,
  IMPATIENT_TIMES,
  openUpstreamFixture,
} from '../testing/upstream-fixture.ts'

test('a blob comes whole, with its size', async () => {
  await using t = await openUpstreamFixture()
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.equal(blob?.size, t.layer.length)
  assert.equal(blob.access, 'public')
  assert.deepEqual(await collect(blob.content), t.layer)
  assert.deepEqual(ranges(t), [undefined])
})

test('an empty blob is a blob', async () => {
  await using t = await openUpstreamFixture()
  t.server.putBlob(Buffer.alloc(0))
  const blob = await t.upstream.blob(t.repository, { digest: digestOf(''), size: 0 }, askAs())
  assert.equal(blob?.size, 0)
  assert.equal((await collect(blob.content)).length, 0)
})

test('a blob comes from a byte on', async () => {
  await using t = await openUpstreamFixture()
  for (const size of [undefined, t.layer.length]) {
    const content = { digest: t.layerDigest, start: 1000, ...(size !== undefined && { size }) }
    const blob = await t.upstream.blob(t.repository, content, askAs())
    assert.equal(blob?.size, t.layer.length)
    assert.deepEqual(await collect(blob.content), t.layer.subarray(1000))
  }
  assert.deepEqual(ranges(t), ['bytes=1000-', 'bytes=1000-'])
})

test('the end of a blob is no bytes, once the registry said that it has it', async () => {
  await using t = await openUpstreamFixture()
  const size = t.layer.length
  const blob = await t.upstream.blob(
    t.repository,
    { digest: t.layerDigest, size, start: size },
    askAs(),
  )
  assert.ok(blob)
  assert.equal((await collect(blob.content)).length, 0)
  const absent = { digest: digestOf('absent'), size, start: size }
  assert.equal(await t.upstream.blob(t.repository, absent, askAs()), undefined)
  assert.ok(t.server.requests.every(({ method }) => method === 'HEAD'))
})

test('a server that does not know Range is read from the first byte', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response) => void response.end(t.layer))
  const content = { digest: t.layerDigest, size: t.layer.length, start: 123_456 }
  const blob = await t.upstream.blob(t.repository, content, askAs())
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer.subarray(123_456))
})

test('a body that breaks is resumed from where it broke', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response, start) => sendAndBreak(t, response, start, 70_000))
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer)
  const asked = ranges(t)
  assert.equal(asked[0], undefined)
  assert.deepEqual(asked.slice(1), [
    'bytes=70000-',
    'bytes=140000-',
    'bytes=210000-',
    'bytes=280000-',
  ])
})

test('a body that goes silent is resumed', async () => {
  await using t = await openUpstreamFixture({
    upstream: (host) => ({ insecureHosts: [host], times: IMPATIENT_TIMES }),
  })
  let requests = 0
  answerBlobs(t, (response, start) => {
    requests += 1
    if (requests > 1) return sendAndBreak(t, response, start, t.layer.length)
    response.writeHead(200, { 'content-length': t.layer.length })
    response.write(t.layer.subarray(0, 1000))
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer)
  assert.deepEqual(ranges(t).slice(0, 2), [undefined, 'bytes=1000-'])
})

test('a body that always breaks is given up after five resumes', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response, start) => sendAndBreak(t, response, start, 10))
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  await assert.rejects(collect(blob.content), { code: 'UPSTREAM_UNREACHABLE' })
  assert.equal(ranges(t).length, 6)
})

test('resumes are counted anew after a mebibyte', async () => {
  await using t = await openUpstreamFixture()
  const layer = Buffer.alloc(10 * 1024 * 1024, 'x')
  const size = layer.length
  answerBlobs(t, (response, start) => {
    sendAndBreak({ ...t, layer }, response, start, 1024 * 1024 + 1)
  })
  const digest = digestOf(layer)
  const blob = await t.upstream.blob(t.repository, { digest, size }, askAs())
  assert.ok(blob)
  assert.equal(digestOf(await collect(blob.content)), digest)
  assert.equal(ranges(t).length, 10)
})

test('a server that does not know Range is resumed all the same', async () => {
  await using t = await openUpstreamFixture()
  let requests = 0
  answerBlobs(t, (response) => {
    requests += 1
    if (requests === 1) return sendAndBreak(t, response, 0, 70_000)
    response.end(t.layer)
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer)
})

test('a blob without a Content-Length has the size that the caller knows', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response) => {
    response.write(t.layer.subarray(0, 10))
    response.end(t.layer.subarray(10))
  })
  const blob = await t.upstream.blob(
    t.repository,
    { digest: t.layerDigest, size: t.layer.length },
    askAs(),
  )
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer)
  assert.deepEqual(
    t.server.requests.map(({ method }) => method),
    ['GET'],
  )
})

test('a blob without a Content-Length has the size of its HEAD', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response) => {
    response.write(t.layer.subarray(0, 10))
    response.end(t.layer.subarray(10))
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.equal(blob?.size, t.layer.length)
  assert.deepEqual(await collect(blob.content), t.layer)
  assert.deepEqual(
    t.server.requests.map(({ method }) => method),
    ['GET', 'HEAD'],
  )
})

test('a blob of which nobody tells the size is refused', async () => {
  await using t = await openUpstreamFixture()
  t.server.hook = (_, response) => {
    response.setHeader('transfer-encoding', 'chunked')
    response.end(t.layer)
    return true
  }
  await assert.rejects(t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs()), {
    code: 'UPSTREAM_FAULTY',
  })
})

test('a chunked body that is cut is resumed, and one that is cut behind its last byte is whole', async () => {
  await using t = await openUpstreamFixture()
  let requests = 0
  answerBlobs(t, (response, start) => {
    requests += 1
    const { length } = t.layer
    if (requests > 1) {
      response.statusCode = 206
      response.setHeader('content-range', `bytes ${start}-${length - 1}/${length}`)
    }
    const end = requests === 1 ? 5000 : length
    response.write(t.layer.subarray(start, end), () => response.destroy())
  })
  const blob = await t.upstream.blob(
    t.repository,
    { digest: t.layerDigest, size: t.layer.length },
    askAs(),
  )
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer)
  assert.equal(requests, 2)
})
