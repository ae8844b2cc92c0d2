import assert from 'node:assert/strict'
import { test } from 'node:test'

import { PUBLIC, PRIVATE, world, codeOf, openNamedRegistry } from '../testing/named-registry.ts'
import { askAs, QUICK_TIMES } from '../testing/upstream-fixture.ts'
import { UpstreamServer } from '../testing/upstream-server.ts'
import { openUpstream } from './open-upstream.ts'

const LOCAL_NAMES = [
  '127.0.0.1:1',
  '127.1:1',
  '0x7f.1:1',
  '2130706433:1',
  '0.0.0.0:1',
  '[::1]:1',
  '[::]:1',
  '[::ffff:127.0.0.1]:1',
  '[::ffff:a9fe:a9fe]',
  '[fe80::1]',
  '[ff02::1]',
  '169.254.169.254',
  '169.254.1.1:5000',
  '224.0.0.1',
  'localhost:1',
  'metadata.google.internal',
  'METADATA.google.internal.',
  'metadata',
]

for (const registry of LOCAL_NAMES) {
  test(`a registry at ${registry} is refused`, async () => {
    await using upstream = await openUpstream({ times: QUICK_TIMES })
    const asked = upstream.resolve({ registry, repository: 'team/app' }, '1', askAs())
    assert.equal(await codeOf(asked), 'UPSTREAM_ADDRESS_REFUSED')
  })
}

for (const address of [
  '127.0.0.1',
  '::1',
  '169.254.169.254',
  '::ffff:127.0.0.1',
  '0.0.0.0',
  'fe80::1',
]) {
  test(`a name that means ${address} is refused`, async () => {
    await using server = await UpstreamServer.open()
    const upstream = await openUpstream({
      times: QUICK_TIMES,
      ...world({ 'evil.example': address }),
    })
    const registry = `evil.example:${server.port}`
    const asked = upstream.resolve({ registry, repository: 'team/app' }, '1', askAs())
    assert.equal(await codeOf(asked), 'UPSTREAM_ADDRESS_REFUSED')
    assert.equal(server.connectionCount, 0)
    await upstream[Symbol.asyncDispose]()
  })
}

test('a name is dialled at the addresses that were checked, and at no other', async () => {
  const dialled: string[] = []
  let lookups = 0
  await using server = await UpstreamServer.open()
  const registry = `reg.example:${server.port}`
  await using upstream = await openUpstream({
    insecureHosts: [],
    times: QUICK_TIMES,
    lookup: async () => {
      lookups += 1
      return [
        { address: '127.0.0.1', family: 4 },
        { address: PUBLIC, family: 4 },
      ]
    },
    dial: (address) => {
      dialled.push(address)
      return '127.0.0.1'
    },
  })
  // TLS fails: the server speaks plain HTTP
  assert.equal(
    await codeOf(upstream.resolve({ registry, repository: 'a' }, '1', askAs())),
    'UPSTREAM_UNREACHABLE',
  )
  assert.deepEqual(dialled, [PUBLIC])
  assert.equal(lookups, 1)
})

test('a registry at a private address may be asked', async () => {
  await using t = await openNamedRegistry({ reg: PRIVATE })
  assert.ok(await t.upstream.resolve(t.repository, '1', askAs()))
})
