import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { answerBlobs, sendAndBreak } from '../testing/blob-answers.ts'
import { askAs, collect, openUpstreamFixture } from '../testing/upstream-fixture.ts'

test('a body that is longer than the size is cut and refused', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response) => {
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
    answerBlobs(t, (response) => {
      closed = once(response, 'close')
      response.writeHead(status, headers)
      if (status === 204 || status === 416) response.end()
      else response.write(t.layer.subarray(start, start + 1000))
    })
    // no signal ends it
    const ask = { ...askAs(), signal: new AbortController().signal }
    const content = { digest: t.layerDigest, size: SIZE, start }
    await assert.rejects(t.upstream.blob(t.repository, content, ask), { code: 'UPSTREAM_FAULTY' })
    await closed
  })
}

test('a resume that is answered wrongly is refused', async () => {
  await using t = await openUpstreamFixture()
  answerBlobs(t, (response, start) => {
    if (start === 0) return sendAndBreak(t, response, 0, 1000)
    response.writeHead(206, { 'content-range': `bytes 0-${SIZE - 1}/${SIZE}` }).end(t.layer)
  })
  const blob = await t.upstream.blob(t.repository, { digest: t.layerDigest }, askAs())
  assert.ok(blob)
  await assert.rejects(collect(blob.content), { code: 'UPSTREAM_FAULTY' })
})
