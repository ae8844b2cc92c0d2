import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import type { Log } from '../telemetry/log.ts'
import { silentLog } from '../telemetry/log.ts'
import { openDoor } from '../testing/open-door.ts'
import { RawHttp } from '../testing/raw-http.ts'

const DIGEST = digestOf('unknown')

const codeOf = (body: Buffer) => JSON.parse(body.toString()).errors[0].code

test('answers the ping without asking anybody, whatever the credentials', async () => {
  await using door = await openDoor()
  door.backend.beforeAnswer = () => new Promise(() => {})
  for (const path of ['/v2/', '/v2']) {
    for (const headers of [{}, { Authorization: 'Basic eDp5' }, { Authorization: 'Bearer t' }]) {
      const answer = await door.get(path, headers)
      assert.equal(answer.status, 200)
      assert.equal(answer.body.toString(), '{}')
      assert.equal(answer.headers['content-type'], 'application/json')
      assert.equal(answer.headers['content-length'], '2')
      assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0')
      assert.equal(answer.headers['www-authenticate'], undefined)
      assert.equal(answer.headers['x-registry-supports-signatures'], undefined)
    }
  }
  assert.deepEqual(door.backend.asked, [])
})

/** What a path means: registry, repository, and the scope where it is not the upstream. */
const NAMES: readonly [path: string, registry: string, repository: string, scope?: string][] = [
  ['/v2/library/alpine/manifests/3', 'docker.io', 'library/alpine'],
  ['/v2/alpine/manifests/3', 'docker.io', 'library/alpine'],
  ['/v2/library/alpine/manifests/3?ns=docker.io', 'docker.io', 'library/alpine'],
  ['/v2/o/x/manifests/3?ns=ghcr.io', 'ghcr.io', 'o/x'],
  ['/v2/ghcr.io/o/x/manifests/3', 'ghcr.io', 'o/x'],
  ['/v2/ghcr.io/o/x/manifests/3?ns=quay.io', 'quay.io', 'ghcr.io/o/x'],
  ['/v2/reg__5000/x/manifests/3', 'reg:5000', 'x'],
  ['/v2/x/manifests/3?ns=reg%3A5000', 'reg:5000', 'x'],
  ['/v2/x/manifests/3?ns=169.254.169.254', '169.254.169.254', 'x'],
  ['/v2/localhost/x/manifests/3', 'localhost', 'x'],
  ['/v2/local/app/manifests/3', 'docker.io', 'library/app', 'local'],
  ['/v2/node/desk/app/manifests/3', 'docker.io', 'library/app', 'node'],
  ['/v2/a/manifests/b/manifests/3', 'docker.io', 'a/manifests/b'],
  ['/v2/a/blobs/b/manifests/3', 'docker.io', 'a/blobs/b'],
  ['/v2/a/tags/list/manifests/3', 'docker.io', 'a/tags/list'],
  ['/v2/v2/manifests/manifests/3', 'docker.io', 'v2/manifests'],
]

for (const [path, registry, repository, scope = 'upstream'] of NAMES) {
  test(`takes ${path} for ${repository} of ${registry} (${scope})`, async () => {
    await using door = await openDoor()
    assert.equal((await door.get(path)).status, 404)
    const [asked] = door.backend.asked
    assert.equal(asked?.name.registry, registry)
    assert.equal(asked?.name.repository, repository)
    assert.equal(asked?.name.scope, scope)
    assert.equal(asked?.tag, '3')
  })
}

test('never takes itself for an upstream', async () => {
  await using door = await openDoor()
  const { port } = door
  for (const path of [
    `/v2/o/x/manifests/3?ns=127.0.0.1:${port}`,
    `/v2/o/x/manifests/3?ns=localhost:${port}`,
    `/v2/127.0.0.1__${port}/o/x/manifests/3`,
    `/v2/127.0.0.1__${port}/localhost__${port}/o/x/manifests/3?ns=127.0.0.1:${port}`,
  ]) {
    await door.get(path)
    assert.equal(door.backend.asked.at(-1)?.name.registry, 'docker.io')
    assert.equal(door.backend.asked.at(-1)?.name.repository, 'o/x')
  }
  await door.get(`/v2/local/app/manifests/3?ns=localhost:${port}`)
  assert.equal(door.backend.asked.at(-1)?.name.scope, 'local')
})

const LONG = 'x'.repeat(256)

const BAD: readonly [path: string, status: number, code: string][] = [
  ['/v2/Library/alpine/manifests/3', 400, 'NAME_INVALID'],
  ['/v2/../etc/manifests/3', 400, 'NAME_INVALID'],
  ['/v2/a/../b/manifests/3', 400, 'NAME_INVALID'],
  ['/v2/a%2fb/manifests/3', 400, 'NAME_INVALID'],
  ['/v2/%2e%2e/b/manifests/3', 400, 'NAME_INVALID'],
  ['/v2/a//b/manifests/3', 400, 'NAME_INVALID'],
  ['/v2/a%00/manifests/3', 400, 'NAME_INVALID'],
  [`/v2/${LONG}/manifests/3`, 400, 'NAME_INVALID'],
  [`/v2/${LONG}/blobs/${DIGEST}`, 400, 'NAME_INVALID'],
  [`/v2/${LONG}/tags/list`, 400, 'NAME_INVALID'],
  ['/v2/a/manifests/3?ns=', 400, 'NAME_INVALID'],
  ['/v2/a/manifests/3?ns=a/b', 400, 'NAME_INVALID'],
  ['/v2/a/manifests/3?ns=ghcr.io&ns=quay.io', 400, 'NAME_INVALID'],
  ['/v2/a/manifests/3?ns=user%40host', 400, 'NAME_INVALID'],
  ['/v2/a/manifests/.INVALID_MANIFEST_NAME', 404, 'MANIFEST_UNKNOWN'],
  ['/v2/a/manifests/b%2fc', 404, 'MANIFEST_UNKNOWN'],
  [`/v2/a/manifests/${'t'.repeat(129)}`, 404, 'MANIFEST_UNKNOWN'],
  ['/v2/a/manifests/sha256:baddigeststring', 400, 'DIGEST_INVALID'],
  [`/v2/a/manifests/${DIGEST.toUpperCase()}`, 400, 'DIGEST_INVALID'],
  [`/v2/a/manifests/sha512:${'a'.repeat(128)}`, 404, 'MANIFEST_UNKNOWN'],
  ['/v2/a/blobs/sha256:bad', 400, 'DIGEST_INVALID'],
  ['/v2/a/blobs/nothing', 400, 'DIGEST_INVALID'],
  [`/v2/a/blobs/${DIGEST}0`, 400, 'DIGEST_INVALID'],
  [`/v2/a/blobs/sha512:${'a'.repeat(128)}`, 404, 'BLOB_UNKNOWN'],
  ['/v2/_catalog', 404, 'NAME_UNKNOWN'],
  ['/v2/a', 404, 'NAME_UNKNOWN'],
  ['/v2//manifests/3', 404, 'NAME_UNKNOWN'],
  ['/v2/a/manifests/3/', 404, 'NAME_UNKNOWN'],
  ['/v2/a/manifests/', 404, 'NAME_UNKNOWN'],
  ['/v1/_ping', 404, 'NAME_UNKNOWN'],
  ['//v2/', 404, 'NAME_UNKNOWN'],
  ['/', 404, 'NAME_UNKNOWN'],
]

for (const [path, status, code] of BAD) {
  test(`answers ${status} ${code} to ${path.slice(0, 60)}, and asks nobody`, async () => {
    await using door = await openDoor()
    const answer = await door.get(path)
    assert.equal(answer.status, status)
    assert.equal(answer.headers['content-type'], 'application/json')
    assert.equal(codeOf(answer.body), code)
    assert.deepEqual(door.backend.asked, [])
  })
}

test('reads a digest whose colon is escaped', async () => {
  await using door = await openDoor()
  const digest = door.backend.addBlob(Buffer.from('bytes'))
  const answer = await door.get(`/v2/a/blobs/${digest.replace(':', '%3A')}`)
  assert.equal(answer.body.toString(), 'bytes')
})

const PUSH: readonly [method: string, path: string][] = [
  ['POST', '/v2/a/blobs/uploads/'],
  ['POST', `/v2/a/blobs/uploads/?mount=${DIGEST}&from=b`],
  ['GET', '/v2/a/blobs/uploads/id'],
  ['PATCH', '/v2/a/blobs/uploads/id'],
  ['PUT', `/v2/a/blobs/uploads/id?digest=${DIGEST}`],
  ['PUT', '/v2/a/manifests/v1'],
  ['DELETE', '/v2/a/manifests/v1'],
  ['DELETE', `/v2/a/blobs/${DIGEST}`],
  ['OPTIONS', '/v2/'],
]

for (const [method, path] of PUSH) {
  test(`refuses ${method} of ${path.slice(0, 40)} as unsupported`, async () => {
    await using door = await openDoor()
    const answer = await door.request(method, path)
    assert.equal(answer.status, 405)
    assert.equal(answer.headers.allow, 'GET, HEAD')
    assert.equal(answer.headers['access-control-allow-origin'], undefined)
    assert.equal(codeOf(answer.body), 'UNSUPPORTED')
  })
}

/** Asks for the ping with exactly these headers. */
async function pingWith(port: number, headers: Record<string, string>, host?: string) {
  using client = await RawHttp.open(port, host)
  client.request('GET', '/v2/', headers)
  return (await client.readHead()).status
}

test('answers under its own names alone', async () => {
  await using door = await openDoor({ hosts: ['Mirror.lan', 'edge.lan:80'] })
  const { port } = door
  for (const name of ['127.0.0.1', 'localhost', 'LOCALHOST', '[::1]', 'mirror.lan']) {
    assert.equal(await pingWith(port, { Host: `${name}:${port}` }), 200, name)
  }
  assert.equal(await pingWith(port, { Host: 'edge.lan' }), 200)
  for (const host of [
    `evil.example:${port}`,
    'localhost',
    `127.0.0.1:${port + 1}`,
    `127.0.0.2:${port}`,
    `localhost.evil.example:${port}`,
    `127.0.0.1:${port}@evil.example`,
    `edge.lan:${port}`,
    `mirror.lan.:${port}`,
  ]) {
    assert.equal(await pingWith(port, { Host: host }), 421, host)
  }
})

test('answers under an address that was connected to', async () => {
  await using door = await openDoor()
  using client = await RawHttp.open(door.port)
  client.request('GET', '/v2/', { Host: `${client.socket.remoteAddress}:${door.port}` })
  assert.equal((await client.readHead()).status, 200)
})

test('refuses what the page of another site asks for', async () => {
  await using door = await openDoor()
  const own = `http://127.0.0.1:${door.port}`
  const allowed: Record<string, string>[] = [
    {},
    { Origin: own },
    { 'Sec-Fetch-Site': 'same-origin' },
    { 'Sec-Fetch-Site': 'none' },
  ]
  for (const headers of allowed) assert.equal(await pingWith(door.port, headers), 200)
  const refused: Record<string, string>[] = [
    { Origin: 'http://evil.example' },
    { Origin: 'null' },
    { Origin: `http://localhost:${door.port}` },
    { Origin: `https://127.0.0.1:${door.port}` },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
  ]
  for (const headers of refused) assert.equal(await pingWith(door.port, headers), 403)
  assert.deepEqual(door.backend.asked, [])
})

test('guards the pages that share its address', async () => {
  await using door = await openDoor({
    pages: [
      (ctx, next) => {
        if (ctx.path !== '/page') return next()
        ctx.body = 'a page'
        return undefined
      },
    ],
  })
  assert.equal((await door.get('/page')).body.toString(), 'a page')
  assert.equal((await door.get('/page', { Host: 'evil.example' })).status, 421)
})

test('writes one line and one sample for a request, without query or credentials', async () => {
  const lines: object[] = []
  const samples: object[] = []
  const { promise: recorded, resolve } = Promise.withResolvers<void>()
  const log: Log = {
    ...silentLog,
    child: () => log,
    debug: (line: object) => void lines.push(line),
  } as Log
  await using door = await openDoor({
    log,
    metrics: {
      observeRequest: (sample) => {
        samples.push(sample)
        resolve()
      },
    },
  })
  await door.get('/v2/a/manifests/v1?ns=ghcr.io&token=hunter2', { Authorization: 'Basic hunter2' })
  await recorded
  await new Promise(setImmediate)
  assert.equal(lines.length, 1)
  assert.partialDeepStrictEqual(lines, [
    { method: 'GET', path: '/v2/a/manifests/v1', status: 404, isComplete: true },
  ])
  assert.doesNotMatch(JSON.stringify(lines), /hunter2|ghcr/)
  assert.partialDeepStrictEqual(samples, [{ route: 'manifest', status: 404 }])
})
