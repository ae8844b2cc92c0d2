import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import {
  askAs,
  collect,
  IMPATIENT_TIMES,
  openUpstreamFixture,
  QUICK_TIMES,
  type UpstreamFixture,
} from '../testing/upstream-fixture.ts'
import type { SeenRequest } from '../testing/upstream-server.ts'

/** Answers the GETs of blobs; HEADs are answered as usual. */
function answerWith(
  t: UpstreamFixture,
  answer: (response: ServerResponse, start: number, request: SeenRequest) => void,
): void {
  t.server.hook = (request, response) => {
    if (request.method !== 'GET' || !request.url.includes('/blobs/')) return false
    answer(response, Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0), request)
    return true
  }
}

function ranges(t: UpstreamFixture): (string | undefined)[] {
  return t.server.requests
    .filter(({ method }) => method === 'GET')
    .map(({ headers }) => headers.range)
}

/** Sends the rest of the layer, but ends the connection after `bytes`. */
function sendAndBreak(
  t: UpstreamFixture,
  response: ServerResponse,
  start: number,
  bytes: number,
): void {
  const { length } = t.layer
  if (start > 0) response.setHeader('content-range', `bytes ${start}-${length - 1}/${length}`)
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': length - start })
  response.write(t.layer.subarray(start, start + bytes), () => response.destroy())
}

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
  answerWith(t, (response) => void response.end(t.layer))
  const content = { digest: t.layerDigest, size: t.layer.length, start: 123_456 }
  const blob = await t.upstream.blob(t.repository, content, askAs())
  assert.ok(blob)
  assert.deepEqual(await collect(blob.content), t.layer.subarray(123_456))
})

test('a body that breaks is resumed from where it broke', async () => {
  await using t = await openUpstreamFixture()
  answerWith(t, (response, start) => sendAndBreak(t, response, start, 70_000))
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
  answerWith(t, (response, start) => {
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
  answerWith(t, (response, start) => sendAndBreak(t, response, start, 10))
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  await assert.rejects(collect(blob.content), { code: 'UPSTREAM_UNREACHABLE' })
  assert.equal(ranges(t).length, 6)
})

test('resumes are counted anew after a mebibyte', async () => {
  await using t = await openUpstreamFixture()
  const layer = Buffer.alloc(10 * 1024 * 1024, 'x')
  const size = layer.length
  answerWith(t, (response, start) => {
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
  answerWith(t, (response) => {
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
  answerWith(t, (response) => {
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
  answerWith(t, (response) => {
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
  answerWith(t, (response, start) => {
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

test('a body that is longer than the size is cut and refused', async () => {
  await using t = await openUpstreamFixture()
  answerWith(t, (response) => {
    response.write(t.layer)
    response.end('x')
  })
  const size = t.layer.length
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest, size }, askAs())
  assert.ok(blob)
  let bytes = 0
  await assert.rejects(
    async () => {
      for await (const chunk of blob.content) bytes += chunk.length
    },
    { code: 'UPSTREAM_FAULTY' },
  )
  assert.ok(bytes <= size)
})

const SIZE = 300_000
const FAULTS: readonly [string, number, Record<string, string | number>, number?][] = [
  ['a Content-Length above the size', 200, { 'content-length': SIZE + 1 }],
  ['a Content-Length below the size', 200, { 'content-length': SIZE - 1 }],
  ['gzip', 200, { 'content-length': SIZE, 'content-encoding': 'gzip' }],
  [
    'another digest in its header',
    200,
    { 'content-length': SIZE, 'docker-content-digest': digestOf('other') },
  ],
  [
    '206 to no Range',
    206,
    { 'content-length': SIZE, 'content-range': `bytes 0-${SIZE - 1}/${SIZE}` },
  ],
  ['204', 204, {}],
  ['416', 416, {}, 10],
  ['206 without Content-Range', 206, { 'content-length': SIZE - 10 }, 10],
  ['206 from another byte', 206, { 'content-range': `bytes 11-${SIZE - 1}/${SIZE}` }, 10],
  ['206 to another byte', 206, { 'content-range': `bytes 10-${SIZE - 2}/${SIZE}` }, 10],
  ['206 of another size', 206, { 'content-range': `bytes 10-${SIZE}/${SIZE + 1}` }, 10],
  ['206 of an unknown size', 206, { 'content-range': `bytes 10-${SIZE - 1}/*` }, 10],
  [
    '206 with another length',
    206,
    { 'content-range': `bytes 10-${SIZE - 1}/${SIZE}`, 'content-length': SIZE },
    10,
  ],
]

for (const [what, status, headers, start = 0] of FAULTS) {
  test(`a blob with ${what} is refused, and the connection ends`, async () => {
    await using t = await openUpstreamFixture()
    let closed: Promise<unknown> | undefined
    answerWith(t, (response) => {
      closed = once(response, 'close')
      response.writeHead(status, headers)
      if (status === 204 || status === 416) response.end()
      else response.write(t.layer.subarray(start, start + 1000))
    })
    await assert.rejects(
      t.upstream.blob(t.repository, { digest: t.layerDigest, size: SIZE, start }, askAs()),
      { code: 'UPSTREAM_FAULTY' },
    )
    await closed
  })
}

test('a resume that is answered wrongly is refused', async () => {
  await using t = await openUpstreamFixture()
  answerWith(t, (response, start) => {
    if (start === 0) return sendAndBreak(t, response, 0, 1000)
    response.writeHead(206, { 'content-range': `bytes 0-${SIZE - 1}/${SIZE}` }).end(t.layer)
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  await assert.rejects(collect(blob.content), { code: 'UPSTREAM_FAULTY' })
})

test('a reader that leaves early ends the connection', async () => {
  await using t = await openUpstreamFixture()
  const closed = Promise.withResolvers<void>()
  answerWith(t, (response) => {
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
  answerWith(t, (response) => {
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
  answerWith(t, (response) => {
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
  answerWith(t, (response) => {
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
  answerWith(t, (response) => {
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
