import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { BASIC_ACCOUNT } from '../testing/lab/registry-server.ts'
import { makeTestAuthority } from '../testing/lab/test-authority.ts'
import { makeAppImage } from '../testing/lab/upstream-images.ts'
import { startUpstreamRegistry } from '../testing/lab/upstream-registry.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { askAs, collect, NODE } from '../testing/upstream-fixture.ts'
import { openUpstream } from './open-upstream.ts'

const AUTHENTICATIONS = ['none', 'basic', 'bearer'] as const
const TEAM = { username: 'team-user', password: 'team-password', repositories: ['team/app'] }

for (const isTls of [false, true]) {
  for (const authentication of AUTHENTICATIONS) {
    const how = `${isTls ? 'TLS' : 'plain HTTP'}, authentication ${authentication}`

    test(`docker-registry, ${how}: an image is found, whole, and with the right access`, async () => {
      await using t = await openStage(isTls, authentication)
      const { upstream, repository, image, registry } = t
      const access = authentication === 'none' ? 'public' : 'private'

      const found = await upstream.resolve(repository, '1', askAs(NODE))
      assert.equal(found?.digest, image.root)
      assert.equal(found.access, access)

      for (const { digest, mediaType, bytes } of image.manifests) {
        const manifest = await upstream.manifest(repository, digest, askAs(NODE))
        assert.deepEqual(manifest, { digest, mediaType, bytes, access })
      }
      for (const [digest, bytes] of image.blobs) {
        const start = bytes.length >> 1
        const whole = await upstream.blob(repository, { digest, size: bytes.length }, askAs(NODE))
        const half = await upstream.blob(repository, { digest, start }, askAs(NODE))
        assert.ok(whole && half)
        assert.deepEqual([whole.access, half.access, half.size], [access, access, bytes.length])
        assert.equal(digestOf(await collect(whole.content)), digest)
        assert.deepEqual(await collect(half.content), bytes.subarray(start))
        assert.equal(await upstream.has(repository, { kind: 'blob', digest }, askAs(NODE)), access)
      }
      assert.deepEqual(await upstream.tags(repository, askAs(NODE)), { tags: ['1'], access })

      const absent = digestOf('absent')
      assert.equal(await upstream.resolve(repository, '2', askAs(NODE)), undefined)
      assert.equal(await upstream.manifest(repository, absent, askAs(NODE)), undefined)
      assert.equal(await upstream.blob(repository, { digest: absent }, askAs(NODE)), undefined)
      // docker-registry 2.8 has no referrers
      assert.equal(await upstream.referrers(repository, image.root, askAs(NODE)), undefined)

      const refused = (await registry.requests()).filter(({ status }) => status === 401)
      assert.equal(
        refused.length,
        authentication === 'none' ? 0 : authentication === 'basic' ? 1 : 2,
      )
    })

    if (authentication !== 'none') {
      test(`docker-registry, ${how}: nobody gets what is private`, async () => {
        await using t = await openStage(isTls, authentication)
        await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
          code: 'UPSTREAM_DENIED',
        })
        const authorization = `Basic ${Buffer.from('eve:wrong').toString('base64')}`
        await assert.rejects(
          t.upstream.resolve(t.repository, '1', askAs({ kind: 'client', authorization })),
          { code: 'UPSTREAM_DENIED' },
        )
      })
    }
  }
}

test('docker-registry with a token service: what is public needs no login', async () => {
  await using t = await openStage(false, 'bearer', () => true)
  const found = await t.upstream.resolve(t.repository, '1', askAs(NODE))
  assert.equal(found?.access, 'public')
  assert.deepEqual(
    t.registry.tokens?.requests.map(({ username, granted }) => ({ username, granted })),
    [{ username: undefined, granted: ['repository:team/app:pull'] }],
  )
})

test('a registry that stops while a blob is read, and starts again, is read on', async () => {
  await using t = await openStage(false, 'none')
  const [digest, bytes] = [...t.image.blobs].sort(([, a], [, b]) => b.length - a.length)[0] ?? []
  assert.ok(digest && bytes)
  const blob = await t.upstream.blob(t.repository, { digest, size: bytes.length }, askAs(NODE))
  assert.ok(blob)
  const chunks: Buffer[] = []
  for await (const chunk of blob.content) {
    chunks.push(chunk)
    if (chunks.length === 1) await t.registry.restart()
  }
  assert.equal(digestOf(Buffer.concat(chunks)), digest)
  // a request that was cut short is not in the log
  assert.deepEqual(
    (await t.registry.blobRequests()).map(({ status }) => status),
    [206],
  )
})

/** A registry with an image, and a node that may log in. */
async function openStage(
  isTls: boolean,
  authentication: (typeof AUTHENTICATIONS)[number],
  isPublic = (): boolean => false,
) {
  await using opening = new AsyncDisposableStack()
  const dir = opening.use(await tempDir())
  const authority = await makeTestAuthority()
  const registry = opening.use(
    await startUpstreamRegistry({
      ...(isTls && { authority }),
      authentication,
      tokens: { accounts: [TEAM], isPublic },
    }),
  )
  const image = await makeAppImage('upstream', { mib: 16 })
  await registry.push('team/app', '1', image)

  const caFile = join(dir.path, 'ca.pem')
  await writeFile(caFile, authority.certificate)
  const dockerConfigFile = join(dir.path, 'config.json')
  const { username, password } = authentication === 'basic' ? BASIC_ACCOUNT : TEAM
  const auth = Buffer.from(`${username}:${password}`).toString('base64')
  await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.address]: { auth } } }))

  const realm = registry.tokens?.authentication.realm
  const hosts = [registry.address, ...(realm === undefined ? [] : [new URL(realm).host])]
  const upstream = opening.use(
    await openUpstream({
      ...(isTls ? { localHosts: hosts, caFile } : { insecureHosts: hosts }),
      dockerConfigFile,
    }),
  )
  const stage = opening.move()
  return {
    upstream,
    registry,
    image,
    repository: { registry: registry.address, repository: 'team/app' },
    [Symbol.asyncDispose]: async () => await stage.disposeAsync(),
  }
}
