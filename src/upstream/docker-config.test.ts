import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { findInline, parseDockerConfig, readDockerConfig } from './docker-config.ts'

const auth = (user: string, password: string) => ({
  auth: Buffer.from(`${user}:${password}`).toString('base64'),
})
const basic = (username: string, password: string) => ({
  kind: 'basic' as const,
  username,
  password,
})
const parse = (document: unknown) => parseDockerConfig(JSON.stringify(document), '/etc/config.json')

const KEYS: readonly [string, string][] = [
  ['https://index.docker.io/v1/', 'docker.io'],
  ['docker.io', 'docker.io'],
  ['registry-1.docker.io', 'docker.io'],
  ['ghcr.io', 'ghcr.io'],
  ['https://ghcr.io', 'ghcr.io'],
  ['https://GHCR.io/', 'ghcr.io'],
  ['http://10.0.0.1:5000/v2/', '10.0.0.1:5000'],
  ['quay.io/v1/', 'quay.io'],
]

for (const [key, registry] of KEYS) {
  test(`finds the login of ${registry} under ${key}`, () => {
    const config = parse({ auths: { [key]: auth('bob', 'p:w') } })
    assert.deepEqual(findInline(config, registry, 'team/app'), basic('bob', 'p:w'))
    assert.equal(findInline(config, 'other.example', 'team/app'), undefined)
  })
}

test('the longest path of Podman wins', () => {
  const config = parse({
    auths: {
      'quay.io': auth('host', 'a'),
      'quay.io/team': auth('team', 'b'),
      'quay.io/team/app': auth('app', 'c'),
    },
  })
  assert.deepEqual(findInline(config, 'quay.io', 'team/app'), basic('app', 'c'))
  assert.deepEqual(findInline(config, 'quay.io', 'team/app2'), basic('team', 'b'))
  assert.deepEqual(findInline(config, 'quay.io', 'teams/app'), basic('host', 'a'))
})

test('a path below a scheme is no namespace: Docker writes the whole URL of a registry', () => {
  const config = parse({ auths: { 'https://quay.io/team': auth('bob', 'a') } })
  assert.deepEqual(findInline(config, 'quay.io', 'other/app'), basic('bob', 'a'))
})

test('reads identity and registry tokens, and names and passwords in plain', () => {
  const config = parse({
    auths: {
      a: { identitytoken: 'refresh', auth: 'Ym9iOg==' },
      b: { registrytoken: 'bearer' },
      c: { username: 'bob', password: 'pw' },
      d: {},
      e: { auth: 'bm8gY29sb24=' },
    },
  })
  assert.deepEqual(findInline(config, 'a', 'x'), { kind: 'identity-token', token: 'refresh' })
  assert.deepEqual(findInline(config, 'b', 'x'), { kind: 'registry-token', token: 'bearer' })
  assert.deepEqual(findInline(config, 'c', 'x'), basic('bob', 'pw'))
  assert.equal(findInline(config, 'd', 'x'), undefined)
  assert.equal(findInline(config, 'e', 'x'), undefined)
})

const BROKEN: readonly [string, string][] = [
  ['no JSON', '{"auths": canary-secret'],
  ['a list', '["canary-secret"]'],
  ['auths that are a text', '{"auths":"canary-secret"}'],
  ['a helper with a path', '{"credsStore":"../canary-secret"}'],
  ['a helper with a space', '{"credHelpers":{"a":"x canary-secret"}}'],
]

for (const [what, text] of BROKEN) {
  test(`a file with ${what} is named, and nothing of it is told`, () => {
    assert.throws(
      () => parseDockerConfig(text, '/etc/config.json'),
      (thrown) => {
        assert.ok(isOperationError(thrown, 'CREDENTIALS_INVALID'))
        assert.match(thrown.message, /\/etc\/config\.json/)
        assert.doesNotMatch(`${thrown.message} ${JSON.stringify(thrown)}`, /canary/)
        assert.equal(thrown.cause, undefined)
        return true
      },
    )
  })
}

test('no file means no logins, and a folder is an error', async () => {
  await using dir = await tempDir()
  assert.equal(await readDockerConfig(join(dir.path, 'config.json')), undefined)
  await mkdir(join(dir.path, 'folder'))
  await assert.rejects(readDockerConfig(join(dir.path, 'folder')), { code: 'CREDENTIALS_INVALID' })
})
