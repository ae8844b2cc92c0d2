import assert from 'node:assert/strict'
import { test } from 'node:test'

import { newProbeTag } from '../mirror/probe-name.ts'
import { digestOf } from '../oci/digest.ts'
import { openDoor, type OpenDoor } from '../testing/open-door.ts'
import { doorProbes } from './door-probes.ts'

const TAG = newProbeTag()
const INDEX = 'application/vnd.oci.image.index.v1+json'

/** How each kind of engine asks. */
const QUESTIONS: readonly (readonly [string, string, string | null])[] = [
  [`/v2/probe/manifests/${TAG}?ns=ddocker-probe.invalid`, 'probe', 'ddocker-probe.invalid'],
  [`/v2/ddocker-probe.invalid/probe/manifests/${TAG}`, 'ddocker-probe.invalid/probe', null],
  [`/v2/library/ddocker-probe/manifests/${TAG}`, 'library/ddocker-probe', null],
]

for (const [path, name, ns] of QUESTIONS) {
  test(`answers a probe itself, and tells that it came: ${path.replace(TAG, '<tag>')}`, async () => {
    await using door = await openDoor({ pages: [doorProbes()] })
    const head = await door.request('HEAD', path)
    const got = await door.get(path, { 'user-agent': 'an engine' })
    const digest = digestOf(got.body)
    for (const { status, headers } of [head, got]) {
      assert.equal(status, 200)
      assert.equal(headers['content-type'], INDEX)
      assert.equal(headers['docker-content-digest'], digest)
      assert.equal(headers['content-length'], String(got.body.length))
    }
    assert.deepEqual(JSON.parse(got.body.toString()), {
      schemaVersion: 2,
      mediaType: INDEX,
      manifests: [],
    })
    const byDigest = await door.get(path.replace(TAG, digest))
    assert.deepEqual(byDigest.body, got.body)
    const [first, second, ...others] = await seen(door, TAG)
    assert.deepEqual(others, [])
    assert.deepEqual({ ...first, atMs: 0 }, { name, ns, method: 'HEAD', userAgent: '', atMs: 0 })
    assert.equal(second?.['userAgent'], 'an engine')
  })
}

const OTHERS = [
  '/v2/library/ddocker-probe/manifests/latest',
  `/v2/probe/manifests/${TAG}?ns=ghcr.io`,
  `/v2/probe/manifests/${TAG}`,
  `/v2/library/ddocker-probe/manifests/sha256:${'0'.repeat(64)}`,
  `/v2/library/ddocker-probe/blobs/sha256:${'0'.repeat(64)}`,
  '/api/v1/probes/latest',
  `/api/v1/probes/${TAG}/more`,
]

for (const path of OTHERS) {
  test(`leaves to others what is no probe: ${path.replace(TAG, '<tag>')}`, async () => {
    await using door = await openDoor({ pages: [doorProbes()] })
    assert.equal((await door.get(path)).status, 404)
    assert.deepEqual(await seen(door, TAG), [])
  })
}

test('remembers the newest probes only', async () => {
  await using door = await openDoor({ pages: [doorProbes()] })
  const ask = (tag: string) => door.get(`/v2/library/ddocker-probe/manifests/${tag}`)
  const [first = '', ...later] = Array.from({ length: 129 }, newProbeTag)
  await ask(first)
  for (const tag of later) await ask(tag)
  assert.equal((await seen(door, first)).length, 0)
  const [newest = ''] = later.slice(-1)
  for (let count = 0; count < 20; count++) await ask(newest)
  assert.equal((await seen(door, newest)).length, 16)
})

async function seen(door: OpenDoor, tag: string): Promise<Record<string, unknown>[]> {
  const { status, body } = await door.get(`/api/v1/probes/${tag}`)
  assert.equal(status, 200)
  return (JSON.parse(body.toString()) as { probes: Record<string, unknown>[] }).probes
}
