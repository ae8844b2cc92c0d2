import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { PUBLIC, openNamedRegistry } from '../testing/named-registry.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { askAs } from '../testing/upstream-fixture.ts'
import { openUpstream } from './open-upstream.ts'

test('a registry whose authority was named is trusted', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC })
  const found = await t.upstream.resolve(t.repository, '1', askAs())
  assert.equal(found?.digest, t.manifestDigest)
})

test('a registry that nobody vouches for is not asked, and not tried again', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC, isTrusting: false })
  const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED']
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  try {
    await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
      code: 'UPSTREAM_UNREACHABLE',
      details: {
        host: t.repository.registry,
        reason: 'tls',
        systemCode: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      },
    })
  } finally {
    if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before
  }
  assert.equal(t.server.connectionCount, 1)
  assert.equal(t.server.requests.length, 0)
})

test('a certificate for another name is not enough', async () => {
  await using t = await openNamedRegistry({ reg: PUBLIC, issuedFor: 'another.example' })
  await assert.rejects(t.upstream.resolve(t.repository, '1', askAs()), {
    code: 'UPSTREAM_UNREACHABLE',
    details: {
      host: t.repository.registry,
      reason: 'tls',
      systemCode: 'ERR_TLS_CERT_ALTNAME_INVALID',
    },
  })
})

test('a file of authorities that is none is told at once', async () => {
  await using dir = await tempDir()
  const caFile = join(dir.path, 'ca.pem')
  await assert.rejects(openUpstream({ caFile }), { code: 'CONFIG_INVALID' })
  await writeFile(caFile, 'no certificate')
  await assert.rejects(openUpstream({ caFile }), { code: 'CONFIG_INVALID' })
})
