import assert from 'node:assert/strict'
import { test } from 'node:test'

import { mayReceiveCredential } from './realm-trust.ts'

interface Case {
  readonly registry: string
  readonly realm: string
  readonly isTrusted: boolean
  readonly insecure?: readonly string[]
  readonly local?: readonly string[]
}

const CASES: readonly Case[] = [
  {
    registry: 'https://registry-1.docker.io',
    realm: 'https://auth.docker.io/token',
    isTrusted: true,
  },
  { registry: 'https://ghcr.io', realm: 'https://ghcr.io/token', isTrusted: true },
  { registry: 'https://ghcr.io', realm: 'https://ghcr.io:8443/token', isTrusted: true },
  { registry: 'https://ghcr.io', realm: 'http://ghcr.io/token', isTrusted: false },
  { registry: 'https://ghcr.io', realm: 'https://ghcr.io.evil.example/token', isTrusted: false },
  {
    registry: 'https://registry.example.com',
    realm: 'https://evil.example.net/token',
    isTrusted: false,
  },
  { registry: 'https://a.github.io', realm: 'https://b.github.io/token', isTrusted: false },
  { registry: 'https://a.co.uk', realm: 'https://b.co.uk/token', isTrusted: false },
  { registry: 'https://registry', realm: 'https://auth/token', isTrusted: false },
  { registry: 'https://registry', realm: 'https://registry:9000/token', isTrusted: true },
  { registry: 'https://reg.corp.lan', realm: 'https://auth.corp.lan/token', isTrusted: true },
  { registry: 'https://10.0.0.1', realm: 'https://10.0.0.1/token', isTrusted: true },
  { registry: 'https://10.0.0.1', realm: 'https://10.0.0.1:8443/token', isTrusted: false },
  { registry: 'https://10.0.0.1', realm: 'https://10.0.0.2/token', isTrusted: false },
  { registry: 'https://localhost:5000', realm: 'https://localhost:5001/token', isTrusted: false },
  { registry: 'https://reg.example.com', realm: 'https://127.0.0.1/token', isTrusted: false },
  { registry: 'https://[::1]:5000', realm: 'https://[::1]:5001/token', isTrusted: false },
  { registry: 'http://10.0.0.1:5000', realm: 'http://10.0.0.1:5000/token', isTrusted: true },
  { registry: 'http://10.0.0.1:5000', realm: 'http://10.0.0.1:5001/token', isTrusted: false },
  {
    registry: 'http://10.0.0.1:5000',
    realm: 'http://10.0.0.1:5001/token',
    insecure: ['10.0.0.1:5000', '10.0.0.1:5001'],
    isTrusted: true,
  },
  {
    registry: 'https://127.0.0.1:5000',
    realm: 'https://127.0.0.1:5001/token',
    local: ['127.0.0.1:5000', '127.0.0.1:5001'],
    isTrusted: true,
  },
  {
    registry: 'https://127.0.0.1:5000',
    realm: 'http://127.0.0.1:5001/token',
    local: ['127.0.0.1:5000', '127.0.0.1:5001'],
    isTrusted: false,
  },
  {
    registry: 'https://registry.example.com',
    realm: 'https://127.0.0.1:5001/token',
    local: ['127.0.0.1:5001'],
    isTrusted: false,
  },
]

for (const { registry, realm, isTrusted, insecure = [], local = [] } of CASES) {
  const named = [...insecure, ...local]
  const verdict = isTrusted ? 'may go' : 'does not go'
  test(`the credential of ${registry} ${verdict} to ${realm}, named: ${named.join() || 'none'}`, () => {
    const options = { insecureHosts: new Set(insecure), namedHosts: new Set(named) }
    assert.equal(mayReceiveCredential(new URL(realm), new URL(registry), options), isTrusted)
  })
}
