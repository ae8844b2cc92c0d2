import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { digestOf } from '../oci/digest.ts'
import { openDoor } from '../testing/open-door.ts'
import { RawHttp } from '../testing/raw-http.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** Numbered words, so that no two ranges are alike. */
function blobOf(length: number): Buffer {
  const words = Uint32Array.from(
    { length: Math.ceil(length / 4) },
    (_, index) => index * 2654435761,
  )
  return Buffer.from(words.buffer, 0, length)
}

/** A promise that the test settles. */
function gate() {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  return { promise, open: resolve, fail: reject }
}

const SMALL = blobOf(2048)
const LARGE = blobOf(3 * MIB)

test('serves a whole blob with its true length', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(LARGE)
  const answer = await door.get(`/v2/library/app/blobs/${digest}`, {
    'Accept-Encoding': 'zstd;q=1.0, gzip;q=0.8, deflate;q=0.5',
  })
  assert.equal(answer.status, 200)
  assert.deepEqual(
    { ...answer.headers, date: undefined },
    {
      'content-type': 'application/octet-stream',
      'content-length': String(LARGE.length),
      'accept-ranges': 'bytes',
      'docker-content-digest': digest,
      'docker-distribution-api-version': 'registry/2.0',
      etag: `"${digest}"`,
      'x-content-type-options': 'nosniff',
      connection: 'close',
      date: undefined,
    },
  )
  assert.equal(digestOf(answer.body), digest)
})

test('answers HEAD of a blob with its headers, and reads nothing', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(LARGE, { before: () => assert.fail('it was read') })
  using client = await RawHttp.open(door.port)
  for (const headers of [{}, { Range: 'bytes=0-1' }]) {
    client.request('HEAD', `/v2/app/blobs/${digest}`, headers)
    const head = await client.readHead()
    assert.equal(head.status, 200)
    assert.equal(head.headers['content-length'], String(LARGE.length))
    assert.equal(head.headers['content-type'], 'application/octet-stream')
    assert.equal(head.headers['accept-ranges'], 'bytes')
    assert.equal(head.headers['docker-content-digest'], digest)
  }
})

test('serves an empty blob', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(Buffer.alloc(0))
  const answer = await door.get(`/v2/app/blobs/${digest}`)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['content-length'], '0')
  const head = await door.request('HEAD', `/v2/app/blobs/${digest}`)
  assert.equal(head.headers['content-length'], '0')
  const part = await door.get(`/v2/app/blobs/${digest}`, { Range: 'bytes=0-' })
  assert.equal(part.status, 416)
  assert.equal(part.headers['content-range'], 'bytes */0')
})

const RANGES: readonly [range: string, start: number, end: number][] = [
  ['bytes=0-', 0, 2047],
  ['bytes=500-1499', 500, 1499],
  ['bytes=500-', 500, 2047],
  ['bytes=-500', 1548, 2047],
  ['bytes=-9999', 0, 2047],
  ['bytes=2000-5000', 2000, 2047],
  ['bytes=2047-2047', 2047, 2047],
  ['bytes=0-0', 0, 0],
]

for (const [range, start, end] of RANGES) {
  test(`serves ${range} as bytes ${start} to ${end}`, async () => {
    await using door = await openDoor()
    const digest = door.backend.addBlob(SMALL, { chunkBytes: 100 })
    const answer = await door.get(`/v2/app/blobs/${digest}`, { Range: range })
    assert.equal(answer.status, 206)
    assert.equal(answer.headers['content-range'], `bytes ${start}-${end}/2048`)
    assert.equal(answer.headers['content-length'], String(end - start + 1))
    assert.equal(answer.headers['content-type'], 'application/octet-stream')
    assert.equal(answer.headers['docker-content-digest'], digest)
    assert.deepEqual(answer.body, SMALL.subarray(start, end + 1))
  })
}

test('answers 416 to a range that the blob has not', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(SMALL)
  for (const range of ['bytes=500-0', 'bytes=2048-', 'bytes=5000-10000']) {
    const answer = await door.get(`/v2/app/blobs/${digest}`, { Range: range })
    assert.equal(answer.status, 416)
    assert.equal(answer.headers['content-range'], 'bytes */2048')
    assert.equal(answer.headers['content-type'], 'application/json')
  }
})

test('serves the whole to a range that is malformed, of another unit, or conditional', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(SMALL)
  for (const headers of [
    { Range: 'items=0-5' },
    { Range: 'bytes=x' },
    { Range: 'bytes=0-5', 'If-Range': '"other"' },
    { Range: 'bytes=0-5', 'If-Range': 'Wed, 21 Oct 2015 07:28:00 GMT' },
  ]) {
    const answer = await door.get(`/v2/app/blobs/${digest}`, headers)
    assert.equal(answer.status, 200)
    assert.deepEqual(answer.body, SMALL)
  }
  const same = { Range: 'bytes=0-5', 'If-Range': `"${digest}"` }
  assert.equal((await door.get(`/v2/app/blobs/${digest}`, same)).status, 206)
})

test('serves any satisfiable range exactly', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(SMALL, { chunkBytes: 333 })
  const range = fc.tuple(fc.nat(2047), fc.nat(3000))
  await fc.assert(
    fc.asyncProperty(range, async ([start, more]) => {
      const Range = `bytes=${start}-${start + more}`
      const answer = await door.get(`/v2/app/blobs/${digest}`, { Range })
      assert.deepEqual(answer.body, SMALL.subarray(start, start + more + 1))
    }),
    { numRuns: 50 },
  )
})

test('serves 1024 ranges in one request as one part each, in the order asked', async () => {
  await using door = await openDoor()
  const blob = blobOf(64 * KIB)
  const digest = door.backend.addBlob(blob, { chunkBytes: 25 })
  // Pairs of neighbours, backwards, with numbers long enough for a header of 20 kB.
  const ranges = Array.from({ length: 1024 }, (_, index) => {
    const start = (1023 - index) * 60
    return { start, end: start + 59 }
  })
  const padded = (position: number) => String(position).padStart(9, '0')
  const Range = `bytes=${ranges.map(({ start, end }) => `${padded(start)}-${padded(end)}`).join(', ')}`
  assert.ok(Range.length > 20_000)
  const answer = await door.get(`/v2/app/blobs/${digest}`, { Range })
  assert.equal(answer.status, 206)
  assert.equal(answer.headers['content-length'], String(answer.body.length))
  assert.deepEqual(
    partsOf(answer.body, String(answer.headers['content-type'])),
    ranges.map(({ start, end }) => ({
      contentType: 'application/octet-stream',
      contentRange: `bytes ${start}-${end}/${blob.length}`,
      bytes: blob.subarray(start, end + 1),
    })),
  )
})

test('answers 400 to more than 1024 ranges', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(blobOf(64 * KIB))
  const specs = Array.from({ length: 1025 }, (_, index) => `${index * 2}-${index * 2}`)
  const answer = await door.get(`/v2/app/blobs/${digest}`, { Range: `bytes=${specs.join(',')}` })
  assert.equal(answer.status, 400)
})

test('sends the headers and the first bytes before the last piece is there', async () => {
  await using door = await openDoor()
  const last = gate()
  const digest = door.backend.addBlob(LARGE, {
    chunkBytes: MIB,
    before: (offset) => (offset === 2 * MIB ? last.promise : undefined),
  })
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${digest}`)
  const { status, headers } = await client.readHead()
  assert.equal(status, 200)
  assert.equal(headers['content-length'], String(LARGE.length))
  const first = await client.readBytes(2 * MIB)
  last.open()
  const rest = await client.readBytes(MIB)
  assert.equal(digestOf(Buffer.concat([first, rest])), digest)
})

test('sends the headers in time though the first byte is late', async () => {
  await using door = await openDoor({ limits: { firstByteMs: 5 } })
  const first = gate()
  const digest = door.backend.addBlob(SMALL, { before: () => first.promise })
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${digest}`)
  assert.equal((await client.readHead()).status, 200)
  first.open()
  assert.deepEqual(await client.readBytes(SMALL.length), SMALL)
})

test('answers 404 when the bytes fail before the first is sent', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(SMALL, {
    before: () => {
      throw new Error('all peers have gone')
    },
  })
  for (const headers of [{}, { Range: 'bytes=1-2' }, { Range: 'bytes=1-2,4-5' }]) {
    const answer = await door.get(`/v2/app/blobs/${digest}`, headers)
    assert.equal(answer.status, 404)
    assert.equal(answer.headers['content-range'], undefined)
    const { errors } = JSON.parse(answer.body.toString())
    assert.equal(errors[0].code, 'BLOB_UNKNOWN')
    assert.deepEqual(errors[0].detail, { reason: 'all peers have gone' })
  }
})

test('answers 404 for a blob that nobody has, or nobody answers for in time', async () => {
  await using door = await openDoor({ limits: { blobMs: 20 } })
  const path = `/v2/app/blobs/${digestOf('unknown')}`
  const missing = await door.get(path)
  assert.equal(missing.status, 404)
  assert.equal(missing.headers['content-type'], 'application/json')
  assert.deepEqual(JSON.parse(missing.body.toString()).errors[0], {
    code: 'BLOB_UNKNOWN',
    message: 'blob unknown to registry',
    detail: { name: 'app', digest: digestOf('unknown') },
  })
  assert.equal((await door.request('HEAD', path)).body.length, 0)
  door.backend.beforeAnswer = () => new Promise(() => {})
  assert.equal((await door.get(path)).status, 404)
})

test('no more lets the time limit fire once it is known that the blob can be had', async () => {
  await using door = await openDoor({ limits: { blobMs: 10 } })
  let lookup: AbortSignal | undefined
  door.backend.beforeAnswer = (_request, signal) => void (lookup = signal)
  const digest = door.backend.addBlob(SMALL, {
    before: () => new Promise((resolve) => setTimeout(resolve, 30)),
  })
  assert.equal((await door.get(`/v2/app/blobs/${digest}`)).status, 200)
  assert.equal(lookup?.aborted, false)
})

// The swarm dies, a piece is bad and no other peer has it, or the whole fails its digest.
const BROKEN: readonly [what: string, failAt: number][] = [
  ['in the middle', MIB],
  ['at the last byte', 3 * MIB - 1],
]

for (const [what, failAt] of BROKEN) {
  test(`ends the connection in order and too early when the bytes fail ${what}`, async () => {
    await using door = await openDoor()
    let isBroken = true
    const chunkBytes = failAt === MIB ? MIB : 3 * MIB - 1
    const digest = door.backend.addBlob(LARGE, {
      chunkBytes,
      before: (offset) => {
        if (!isBroken || offset < failAt) return
        // A close while this is unread would be a reset.
        client.request('GET', '/v2/')
        throw new Error('all peers have gone')
      },
    })
    using client = await RawHttp.open(door.port)
    client.request('GET', `/v2/app/blobs/${digest}`)
    const head = await client.readHead()
    assert.equal(head.status, 200)
    assert.equal(head.headers['content-length'], String(LARGE.length))
    const { bytes, end } = await client.readToEnd()
    assert.equal(end, 'fin')
    assert.deepEqual(bytes, LARGE.subarray(0, failAt))
    // The client resumes with what it has not.
    isBroken = false
    const rest = await door.get(`/v2/app/blobs/${digest}`, { Range: `bytes=${bytes.length}-` })
    assert.equal(rest.status, 206)
    assert.equal(digestOf(Buffer.concat([bytes, rest.body])), digest)
  })
}

test('looks like an aborted response, not a reset, to a client that counts the bytes', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(LARGE, {
    chunkBytes: MIB,
    before: (offset) => {
      if (offset > 0) throw new Error('all peers have gone')
    },
  })
  const sent = request({
    host: '127.0.0.1',
    port: door.port,
    path: `/v2/app/blobs/${digest}`,
  }).end()
  const [response] = await once(sent, 'response')
  await assert.rejects(buffer(response), { message: 'aborted', code: 'ECONNRESET' })
  // Node gives both ends that code; a reset of the connection would reach the socket as an error.
  assert.equal(response.socket.errored, null)
})

test('keeps the last bytes back until the backend has ended well', async () => {
  await using door = await openDoor()
  const verdict = gate()
  const digest = door.backend.addBlob(SMALL, { chunkBytes: 1024 })
  const blob = door.backend.blob.bind(door.backend)
  door.backend.blob = async (...args) => {
    const content = await blob(...args)
    return (
      content && {
        ...content,
        async *read(range, options) {
          yield* content.read(range, options)
          await verdict.promise
        },
      }
    )
  }
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${digest}`)
  await client.readHead()
  assert.deepEqual(await client.readBytes(1024), SMALL.subarray(0, 1024))
  verdict.fail(new Error('digest mismatch'))
  assert.deepEqual(await client.readToEnd(), { bytes: Buffer.alloc(0), end: 'fin' })
})

for (const [what, bytesGiven] of [
  ['fewer bytes', 2000],
  ['more bytes', 3000],
] as const) {
  test(`never ends in order when the backend gives ${what} than it said`, async () => {
    await using door = await openDoor()
    const digest = door.backend.addBlob(SMALL)
    door.backend.blob = async () => ({
      size: SMALL.length,
      async *read() {
        for (let given = 0; given < bytesGiven; given += 1000)
          yield LARGE.subarray(given, given + 1000)
      },
    })
    using client = await RawHttp.open(door.port)
    client.request('GET', `/v2/app/blobs/${digest}`)
    await client.readHead()
    const { bytes, end } = await client.readToEnd()
    assert.equal(end, 'fin')
    assert.ok(bytes.length < SMALL.length)
  })
}

test('closes a body that stalls, and tells the backend', async () => {
  await using door = await openDoor({ limits: { stallMs: 20 } })
  let reading: AbortSignal | undefined
  const digest = door.backend.addBlob(SMALL, {
    chunkBytes: 1024,
    before: (offset, signal) => {
      reading = signal
      return offset === 0 ? undefined : new Promise(() => {})
    },
  })
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${digest}`)
  await client.readHead()
  assert.deepEqual(await client.readToEnd(), { bytes: SMALL.subarray(0, 1024), end: 'fin' })
  assert.equal(reading?.aborted, true)
})

test('waits for a slow reader as long as it takes, and reads no further ahead', async () => {
  await using door = await openDoor({ limits: { stallMs: 20 } })
  const blob = blobOf(24 * MIB)
  let furthest = 0
  const digest = door.backend.addBlob(blob, { before: (offset) => void (furthest = offset) })
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${digest}`)
  await client.readHead()
  let reached = -1
  while (reached < furthest) {
    reached = furthest
    await new Promise((resolve) => setTimeout(resolve, 60))
  }
  // The rest is what the kernel holds for both sides.
  assert.ok(furthest < 16 * MIB, `read ${furthest} bytes ahead`)
  assert.equal(digestOf(await client.readBytes(blob.length)), digest)
})

test('answers others while slow readers hold their bodies', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(blobOf(24 * MIB))
  const slow = await Promise.all([1, 2, 3].map(() => RawHttp.open(door.port)))
  for (const client of slow) {
    client.request('GET', `/v2/app/blobs/${digest}`)
    await client.readHead()
  }
  assert.equal((await door.get('/v2/')).status, 200)
  assert.equal((await door.get('/v2/app/manifests/v1')).status, 404)
  for (const client of slow) client.socket.destroy()
})

test('ends only the read of a client that goes away', async () => {
  await using door = await openDoor()
  const rest = gate()
  const digest = door.backend.addBlob(LARGE, {
    chunkBytes: MIB,
    before: (offset) => (offset === 0 ? undefined : rest.promise),
  })
  const leaving = await RawHttp.open(door.port)
  using staying = await RawHttp.open(door.port)
  for (const client of [leaving, staying]) {
    client.request('GET', `/v2/app/blobs/${digest}`)
    await client.readHead()
  }
  leaving.socket.destroy()
  rest.open()
  assert.equal(digestOf(await staying.readBytes(LARGE.length)), digest)
})

test('takes parallel readers that close early, and serves the whole afterwards', async () => {
  await using door = await openDoor()
  const blob = blobOf(8 * MIB)
  const digest = door.backend.addBlob(blob)
  const readSome = async (start: number) => {
    using client = await RawHttp.open(door.port)
    client.request('GET', `/v2/app/blobs/${digest}`, { Range: `bytes=${start}-` })
    assert.equal((await client.readHead()).status, 206)
    assert.deepEqual(await client.readBytes(MIB), blob.subarray(start, start + MIB))
  }
  await Promise.all([0, 2, 4, 6].map((start) => readSome(start * MIB)))
  assert.equal(digestOf((await door.get(`/v2/app/blobs/${digest}`)).body), digest)
})

test('leaves no read open after 50 cancelled pulls', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(blobOf(8 * MIB), { chunkBytes: 256 * KIB })
  const cancelled = Array.from({ length: 50 }, async (_, index) => {
    using client = await RawHttp.open(door.port)
    client.request('GET', `/v2/app/blobs/${digest}`, { Range: `bytes=${index}-` })
    await client.readHead()
  })
  await Promise.all(cancelled)
  await door.server.drain({ timeoutMs: 5000 })
  while (door.backend.openReads > 0) await new Promise(setImmediate)
})

test('serves 200 requests on one connection', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(SMALL, { chunkBytes: 1000 })
  using client = await RawHttp.open(door.port)
  for (let count = 0; count < 200; count += 1) {
    client.request('GET', `/v2/app/blobs/${digest}`)
    assert.equal((await client.readHead()).status, 200)
    assert.deepEqual(await client.readBytes(SMALL.length), SMALL)
  }
})

test('answers requests sent ahead on one connection in their order', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(LARGE)
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${digest}`)
  client.request('GET', '/v2/')
  client.request('GET', `/v2/app/blobs/${digest}`, { Range: 'bytes=-10' })
  await client.readHead()
  assert.equal(digestOf(await client.readBytes(LARGE.length)), digest)
  await client.readHead()
  assert.equal((await client.readBytes(2)).toString(), '{}')
  await client.readHead()
  assert.deepEqual(await client.readBytes(10), LARGE.subarray(-10))
})

test('ends the reads of all requests that a client sent ahead before it went away', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(blobOf(8 * MIB))
  const client = await RawHttp.open(door.port)
  const warnings: Error[] = []
  const onWarning = (warning: Error) => void warnings.push(warning)
  process.on('warning', onWarning)
  for (let count = 0; count < 12; count += 1) client.request('GET', `/v2/app/blobs/${digest}`)
  await client.readHead()
  while (door.backend.openReads < 12) await new Promise(setImmediate)
  client.socket.destroy()
  while (door.backend.openReads > 0) await new Promise(setImmediate)
  process.off('warning', onWarning)
  assert.deepEqual(warnings, [])
})

test('cuts a failed body short behind another on its connection, and only that one', async () => {
  await using door = await openDoor()
  const good = door.backend.addBlob(LARGE)
  const bad = door.backend.addBlob(SMALL, {
    chunkBytes: 1000,
    before: (offset) => {
      if (offset > 0) throw new Error('all peers have gone')
    },
  })
  using client = await RawHttp.open(door.port)
  client.request('GET', `/v2/app/blobs/${good}`)
  client.request('GET', `/v2/app/blobs/${bad}`)
  await client.readHead()
  assert.equal(digestOf(await client.readBytes(LARGE.length)), good)
  assert.equal((await client.readHead()).status, 200)
  assert.deepEqual(await client.readToEnd(), { bytes: SMALL.subarray(0, 1000), end: 'fin' })
})

/** Takes a `multipart/byteranges` body apart, strictly. */
function partsOf(body: Buffer, contentType: string) {
  const boundary = /^multipart\/byteranges; boundary=([0-9a-f]+)$/.exec(contentType)?.[1]
  assert.ok(boundary)
  const text = body.toString('latin1')
  const sections = `\r\n${text}`.split(`\r\n--${boundary}`)
  assert.equal(sections.shift(), '')
  assert.equal(sections.pop(), '--\r\n')
  return sections.map((section) => {
    const [, type, range, bytes] =
      /^\r\nContent-Type: (.*)\r\nContent-Range: (.*)\r\n\r\n([^]*)$/.exec(section) ?? []
    return { contentType: type, contentRange: range, bytes: Buffer.from(bytes ?? '', 'latin1') }
  })
}
