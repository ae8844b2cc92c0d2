/** The upstreams of the laboratory: registries of every kind that hold every kind of image. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { digestOf } from '../../oci/digest.ts'
import { MEDIA_TYPES } from '../../oci/media-types.ts'
import { openLabDirectory } from './lab-directory.ts'
import { requireLab } from './lab-requirements.ts'
import { BASIC_ACCOUNT } from './registry-server.ts'
import { skopeo, skopeoCopy } from './skopeo.ts'
import { makeTestAuthority } from './test-authority.ts'
import {
  layerBytes,
  makeAppImage,
  makeArtifact,
  makeEmptyLayerImage,
  makeIndexImage,
  makeManyLayersImage,
} from './upstream-images.ts'
import { startUpstreamRegistry } from './upstream-registry.ts'

const CREDENTIAL = `${BASIC_ACCOUNT.username}:${BASIC_ACCOUNT.password}`

test('a registry over plain HTTP holds every kind of image, and says what it was asked', async (t) => {
  if (!requireLab(t, ['docker-registry', 'skopeo', 'busybox'])) return
  await using upstream = await startUpstreamRegistry()
  const images = {
    app: await makeAppImage('app'),
    docker: await makeAppImage('docker', { kind: 'docker' }),
    zstd: await makeAppImage('zstd', { kind: 'zstd' }),
    index: await makeIndexImage(),
    many: await makeManyLayersImage(),
    empty: await makeEmptyLayerImage(),
    artifact: makeArtifact(),
  }
  for (const [name, image] of Object.entries(images)) await upstream.push(name, '1', image)
  assert.deepEqual(await upstream.requests(), [])
  for (const [name, image] of Object.entries(images)) {
    await using copied = await openLabDirectory('copied')
    const before = await upstream.mark()
    await skopeoCopy(`docker://${upstream.address}/${name}:1`, `dir:${copied.path}`)
    const found = await upstream.blobRequests(before)
    const wanted = new Set([image.config, ...image.layers.map(({ digest }) => digest)])
    assert.deepEqual(
      found.map(({ target }) => target).sort(),
      [...wanted].map((digest) => `/v2/${name}/blobs/${digest}`).sort(),
    )
    assert.ok(found.reduce((sum, { bytes }) => sum + bytes, 0) > layerBytes(image))
  }
  assert.equal(images.many.layers.length, 40)
})

test('a registry keeps its address and what it holds over a stop', async (t) => {
  if (!requireLab(t, ['docker-registry', 'busybox'])) return
  await using upstream = await startUpstreamRegistry()
  const image = await makeAppImage('app', { mib: 1 })
  await upstream.push('app', '1', image)
  await upstream.stop()
  await assert.rejects(async () => await upstream.client.send('GET', '/v2/app/manifests/1'))
  await upstream.restart()
  const { status, body } = await upstream.client.send('GET', '/v2/app/manifests/1', {
    headers: { accept: MEDIA_TYPES.ociManifest },
  })
  assert.equal(status, 200)
  assert.equal(digestOf(body), image.root)
})

test('a registry with TLS answers who trusts its authority', async (t) => {
  if (!requireLab(t, ['docker-registry', 'skopeo', 'busybox'])) return
  const authority = await makeTestAuthority()
  await using upstream = await startUpstreamRegistry({ authority })
  await upstream.push('app', '1', await makeAppImage('app', { mib: 1 }))
  const reference = `docker://${upstream.address}/app:1`
  assert.equal((await skopeo(['inspect', '--raw', reference])).code, 1)
  await using trusted = await openLabDirectory('trusted')
  writeFileSync(join(trusted.path, 'ca.crt'), authority.certificate)
  const told = await skopeo(['inspect', '--raw', '--cert-dir', trusted.path, reference])
  assert.equal(told.code, 0, told.stderr)
})

test('a registry with Basic authentication answers its account only', async (t) => {
  if (!requireLab(t, ['docker-registry', 'skopeo', 'busybox'])) return
  await using upstream = await startUpstreamRegistry({ authentication: 'basic' })
  await upstream.push('app', '1', await makeAppImage('app', { mib: 1 }))
  const inspect = async (...args: string[]) =>
    await skopeo([
      'inspect',
      '--raw',
      '--tls-verify=false',
      ...args,
      `docker://${upstream.address}/app:1`,
    ])
  assert.equal((await inspect('--no-creds')).code, 1)
  assert.equal((await inspect('--creds', `${CREDENTIAL}x`)).code, 1)
  const allowed = await inspect('--creds', CREDENTIAL)
  assert.equal(allowed.code, 0, allowed.stderr)
})

test('a registry with Bearer authentication answers tokens of its token server', async (t) => {
  if (!requireLab(t, ['docker-registry', 'skopeo', 'busybox'])) return
  await using upstream = await startUpstreamRegistry({
    authentication: 'bearer',
    tokens: {
      isPublic: (repository) => repository === 'public',
      accounts: [{ ...BASIC_ACCOUNT, repositories: ['private'] }],
    },
  })
  const image = await makeAppImage('app', { mib: 1 })
  for (const name of ['public', 'private', 'secret']) await upstream.push(name, '1', image)
  const inspect = async (name: string, ...args: string[]): Promise<number | null> => {
    const reference = `docker://${upstream.address}/${name}:1`
    const all = ['inspect', '--raw', '--tls-verify=false', ...args, reference]
    return (await skopeo(all)).code
  }
  const credential = ['--creds', CREDENTIAL]
  assert.equal(await inspect('public', '--no-creds'), 0)
  assert.equal(await inspect('private', '--no-creds'), 1)
  assert.equal(await inspect('private', '--creds', `${CREDENTIAL}x`), 1)
  assert.equal(await inspect('private', ...credential), 0)
  assert.equal(await inspect('secret', ...credential), 1)
  // Clients ask once more for what was denied.
  const answers = new Set(
    upstream.tokens?.requests.map(
      ({ username, granted, status }) => `${username ?? 'nobody'}: ${status} ${granted.join(' ')}`,
    ),
  )
  assert.deepEqual(
    [...answers],
    [
      'nobody: 200 repository:public:pull',
      'nobody: 200 ',
      'nobody: 401 ',
      'lab-user: 200 repository:private:pull',
      'lab-user: 200 ',
    ],
  )
})
