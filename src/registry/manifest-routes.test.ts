import assert from 'node:assert/strict'
import type { OutgoingHttpHeaders } from 'node:http'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { openDoor } from '../testing/open-door.ts'
import { RawHttp } from '../testing/raw-http.ts'

const DESCRIPTOR = `{"mediaType":"x/y","digest":"${digestOf('layer')}","size":5}`
const IMAGE_FIELDS = `"config":${DESCRIPTOR},"layers":[${DESCRIPTOR}]`

/** Bodies whose bytes must come through as they are, and the type each is served under. */
const MANIFESTS: readonly [kind: string, text: string, mediaType: string][] = [
  [
    'a Docker manifest',
    `{"schemaVersion":2,"mediaType":"${MEDIA_TYPES.dockerManifest}",${IMAGE_FIELDS}}`,
    MEDIA_TYPES.dockerManifest,
  ],
  [
    'a Docker manifest list',
    `{"schemaVersion":2,"mediaType":"${MEDIA_TYPES.dockerManifestList}","manifests":[]}`,
    MEDIA_TYPES.dockerManifestList,
  ],
  [
    'an OCI manifest that names no type',
    `{"schemaVersion":2,${IMAGE_FIELDS}}`,
    MEDIA_TYPES.ociManifest,
  ],
  [
    'an OCI image index',
    `{"schemaVersion":2,"mediaType":"${MEDIA_TYPES.ociIndex}","manifests":[]}`,
    MEDIA_TYPES.ociIndex,
  ],
  [
    'one with unknown fields and odd white space',
    `\n{ "schemaVersion" :2,\t"x":{"b":1,"a":[ ]},"ünï":"\\u00fc",${IMAGE_FIELDS} }\r\n `,
    MEDIA_TYPES.ociManifest,
  ],
  [
    'one of 3.9 MB',
    `{"schemaVersion":2,${IMAGE_FIELDS},"annotations":{"a":"${'x'.repeat(3_900_000)}"}}`,
    MEDIA_TYPES.ociManifest,
  ],
]

const ACCEPTS: readonly OutgoingHttpHeaders[] = [
  {},
  { Accept: '*/*' },
  {
    Accept: [
      MEDIA_TYPES.dockerManifest,
      MEDIA_TYPES.dockerManifestList,
      MEDIA_TYPES.ociManifest,
      MEDIA_TYPES.ociIndex,
    ],
  },
  {
    Accept: `${MEDIA_TYPES.dockerManifest}, ${MEDIA_TYPES.ociIndex}, */*`,
    'Accept-Encoding': 'zstd;q=1.0, gzip;q=0.8, deflate;q=0.5',
  },
  { Accept: 'text/html' },
]

for (const [kind, text, mediaType] of MANIFESTS) {
  test(`serves the exact bytes of ${kind}, whatever the client accepts`, async () => {
    await using door = await openDoor()
    const { digest } = door.backend.addManifest(text, { tags: ['v1'] })
    for (const headers of ACCEPTS) {
      for (const reference of ['v1', digest]) {
        const answer = await door.get(`/v2/library/app/manifests/${reference}`, headers)
        assert.equal(answer.status, 200)
        assert.equal(digestOf(answer.body), digest)
        assert.equal(answer.headers['content-type'], mediaType)
        assert.equal(answer.headers['content-length'], String(Buffer.byteLength(text)))
        assert.equal(answer.headers['docker-content-digest'], digest)
        assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0')
        assert.equal(answer.headers['content-encoding'], undefined)
        assert.equal(answer.headers['transfer-encoding'], undefined)
        assert.equal(answer.headers.vary, undefined)
      }
    }
  })
}

test('answers HEAD of a manifest with all its headers and no body, and the connection goes on', async () => {
  await using door = await openDoor()
  const { digest, bytes } = door.backend.addManifest(`{"schemaVersion":2,${IMAGE_FIELDS}}`, {
    tags: ['v1'],
  })
  using client = await RawHttp.open(door.port)
  for (const reference of ['v1', digest, 'v1']) {
    client.request('HEAD', `/v2/library/app/manifests/${reference}`)
    const { status, headers } = await client.readHead()
    assert.equal(status, 200)
    assert.equal(headers['content-type'], MEDIA_TYPES.ociManifest)
    assert.equal(headers['content-length'], String(bytes.length))
    assert.equal(headers['docker-content-digest'], digest)
  }
  client.request('GET', '/v2/')
  assert.equal((await client.readHead()).status, 200)
  assert.equal((await client.readBytes(2)).toString(), '{}')
})

test('answers 404 in the words of the spec for a manifest that nobody has', async () => {
  await using door = await openDoor()
  const digest = digestOf('unknown')
  for (const [reference, detail] of [
    ['v1', { name: 'library/app', tag: 'v1' }],
    [digest, { name: 'library/app', digest }],
  ] as const) {
    const path = `/v2/library/app/manifests/${reference}`
    const answer = await door.get(path)
    assert.equal(answer.status, 404)
    assert.equal(answer.headers['content-type'], 'application/json')
    assert.deepEqual(JSON.parse(answer.body.toString()), {
      errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown to registry', detail }],
    })
    const head = await door.request('HEAD', path)
    assert.equal(head.status, 404)
    assert.equal(head.headers['content-length'], String(answer.body.length))
    assert.equal(head.body.length, 0)
  }
})

test('answers 404 when nobody answers for a manifest in time, and stops asking', async () => {
  await using door = await openDoor({ limits: { manifestMs: 20 } })
  let asked: AbortSignal | undefined
  door.backend.beforeAnswer = (_request, signal) => {
    asked = signal
    return new Promise(() => {})
  }
  for (const path of ['/v2/app/manifests/v1', '/v2/app/tags/list']) {
    assert.equal((await door.get(path)).status, 404)
    assert.equal(asked?.aborted, true)
  }
})

const FAILURES: readonly [what: string, failure: unknown][] = [
  ['a failure with a code', new OperationError('TRANSFER_STALLED', 'no peer holds it')],
  ['a mistake in our code', new TypeError('undefined is not a function')],
  ['something that is no error', 'oops'],
]

for (const [what, failure] of FAILURES) {
  test(`turns ${what} behind the door into 404, with the reason`, async () => {
    await using door = await openDoor()
    door.backend.beforeAnswer = () => {
      throw failure
    }
    const codes = {
      '/v2/app/manifests/v1': 'MANIFEST_UNKNOWN',
      [`/v2/app/blobs/${digestOf('x')}`]: 'BLOB_UNKNOWN',
      '/v2/app/tags/list': 'NAME_UNKNOWN',
    }
    for (const [path, code] of Object.entries(codes)) {
      const answer = await door.get(path)
      assert.equal(answer.status, 404)
      const { errors } = JSON.parse(answer.body.toString())
      assert.equal(errors[0].code, code)
      assert.equal(errors[0].detail.reason, failure instanceof Error ? failure.message : 'oops')
    }
  })
}

const TAGS = ['v2', '1.0', 'latest', 'V1', '_x', '1.0-rc.1']
const SORTED_TAGS = ['1.0', '1.0-rc.1', 'V1', '_x', 'latest', 'v2']

test('lists tags in byte order, by pages where a size is given', async () => {
  await using door = await openDoor()
  door.backend.addManifest(`{"schemaVersion":2,${IMAGE_FIELDS}}`, { tags: TAGS })
  const list = async (query: string) => {
    const { status, headers, body } = await door.get(`/v2/library/app/tags/list${query}`)
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'application/json')
    const { name, tags } = JSON.parse(body.toString())
    assert.equal(name, 'library/app')
    return { tags, link: headers['link'] }
  }
  assert.deepEqual(await list(''), { tags: SORTED_TAGS, link: undefined })
  assert.deepEqual(await list('?last=V1'), { tags: SORTED_TAGS.slice(3), link: undefined })
  assert.deepEqual(await list('?last=a'), { tags: SORTED_TAGS.slice(4), link: undefined })
  assert.deepEqual(await list('?n=0'), { tags: [], link: undefined })
  assert.deepEqual(await list('?n=100'), { tags: SORTED_TAGS, link: undefined })
  assert.deepEqual(await list('?n=2&last=1.0&ns=ghcr.io'), {
    tags: ['1.0-rc.1', 'V1'],
    link: '</v2/library/app/tags/list?n=2&last=V1&ns=ghcr.io>; rel="next"',
  })
})

test('leads through all tags by its links', async () => {
  await using door = await openDoor()
  door.backend.addManifest(`{"schemaVersion":2,${IMAGE_FIELDS}}`, { tags: TAGS })
  const seen: string[] = []
  let path: string | undefined = '/v2/app/tags/list?n=1'
  while (path !== undefined) {
    const { headers, body }: Awaited<ReturnType<typeof door.get>> = await door.get(path)
    seen.push(...JSON.parse(body.toString()).tags)
    path = /<([^>]+)>/.exec(String(headers['link'] ?? ''))?.[1]
  }
  assert.deepEqual(seen, SORTED_TAGS)
})

test('refuses a page size that is none, and knows no tags of an unknown repository', async () => {
  await using door = await openDoor()
  assert.equal((await door.get('/v2/app/tags/list?n=-1')).status, 400)
  assert.equal((await door.get('/v2/app/tags/list?n=1&n=2')).status, 400)
  const answer = await door.get('/v2/app/tags/list')
  assert.equal(answer.status, 404)
  assert.equal(JSON.parse(answer.body.toString()).errors[0].code, 'NAME_UNKNOWN')
})

const subject = digestOf('subject')
const referrer = (artifactType: string) => ({
  mediaType: MEDIA_TYPES.ociManifest,
  digest: digestOf(artifactType),
  size: 7,
  artifactType,
  annotations: { a: 'b' },
})

for (const name of ['local/app', 'node/desk/app']) {
  test(`answers an empty list of referrers for ${name}, which has no upstream`, async () => {
    await using door = await openDoor()
    const answer = await door.get(`/v2/${name}/referrers/${subject}`)
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['content-type'], MEDIA_TYPES.ociIndex)
    assert.deepEqual(JSON.parse(answer.body.toString()), {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [],
    })
  })
}

test('lists referrers, filtered where asked', async () => {
  await using door = await openDoor()
  const manifests = [referrer('a/one'), referrer('a/two')]
  door.backend.addReferrers(subject, manifests)
  const path = `/v2/local/app/referrers/${subject}`
  const all = await door.get(path)
  assert.deepEqual(JSON.parse(all.body.toString()).manifests, manifests)
  assert.equal(all.headers['oci-filters-applied'], undefined)
  const one = await door.get(`${path}?artifactType=a%2Ftwo`)
  assert.deepEqual(JSON.parse(one.body.toString()).manifests, [referrer('a/two')])
  assert.equal(one.headers['oci-filters-applied'], 'artifactType')
})

test('sends the search for referrers on to the upstream, and refuses what is no digest', async () => {
  await using door = await openDoor()
  for (const path of [`/v2/app/referrers/${subject}`, `/v2/o/x/referrers/${subject}?ns=ghcr.io`]) {
    assert.equal((await door.get(path)).status, 404)
  }
  for (const name of ['app', 'local/app']) {
    const answer = await door.get(`/v2/${name}/referrers/sha256:bad`)
    assert.equal(answer.status, 400)
    assert.equal(JSON.parse(answer.body.toString()).errors[0].code, 'DIGEST_INVALID')
  }
})
