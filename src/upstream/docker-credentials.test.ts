import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'

import { silentLog, type Log } from '../telemetry/log.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { DockerCredentials } from './docker-credentials.ts'

const { signal } = new AbortController()

/** A config.json, and helpers that note what they are asked: `host` and `store` know all but `unknown.example`. */
async function openLogins(config: object) {
  const dir = await tempDir()
  const file = join(dir.path, 'config.json')
  const asked = join(dir.path, 'asked')
  await writeFile(asked, '')
  await writeFile(file, JSON.stringify(config))
  for (const name of ['host', 'store']) {
    const script = `#!/bin/sh
read server
echo "${name} $server" >> '${asked}'
case "$server" in
  unknown.example) echo 'credentials not found in native keychain'; exit 1 ;;
  broken.example) exit 7 ;;
esac
echo '{"Username":"${name}","Secret":"pw"}'
`
    await writeFile(join(dir.path, `docker-credential-${name}`), script, { mode: 0o755 })
  }
  const path = process.env['PATH'] ?? ''
  process.env['PATH'] = `${dir.path}${delimiter}${path}`
  const lines: unknown[] = []
  const log: Log = { ...silentLog, warn: (fields: unknown) => lines.push(fields) }
  let nowMs = 0
  const credentials = new DockerCredentials({ file, log, nowMs: () => nowMs, closing: signal })
  return {
    file,
    lines,
    mayHave: (registry: string) => credentials.mayHave(registry),
    passMs: (ms: number) => (nowMs += ms),
    asked: async () => (await readFile(asked, 'utf8')).split('\n').filter((line) => line !== ''),
    userOf: async (registry: string) => {
      const credential = await credentials.find(registry, 'team/app', signal)
      return credential?.kind === 'basic' ? credential.username : credential?.kind
    },
    [Symbol.asyncDispose]: async () => {
      process.env['PATH'] = path
      await dir[Symbol.asyncDispose]()
    },
  }
}

const inline = (user: string) => ({ auth: Buffer.from(`${user}:pw`).toString('base64') })

test('the helper of a host comes before the store, and the store before what is inline', async () => {
  await using t = await openLogins({
    auths: {
      'ghcr.io': inline('inline'),
      'quay.io': inline('inline'),
      'unknown.example': inline('inline'),
    },
    credHelpers: { 'ghcr.io': 'host' },
    credsStore: 'store',
  })
  assert.equal(await t.userOf('ghcr.io'), 'host')
  assert.equal(await t.userOf('quay.io'), 'store')
  assert.equal(await t.userOf('unknown.example'), 'inline')
})

test('Docker Hub is called by its old name', async () => {
  await using t = await openLogins({ credsStore: 'store' })
  assert.equal(await t.userOf('docker.io'), 'store')
  assert.deepEqual(await t.asked(), ['store https://index.docker.io/v1/'])
})

test('what a helper said counts for five minutes, that it has none for half a minute', async () => {
  await using t = await openLogins({ credsStore: 'store' })
  await Promise.all([t.userOf('quay.io'), t.userOf('quay.io'), t.userOf('unknown.example')])
  assert.equal((await t.asked()).length, 2)
  t.passMs(29_000)
  await t.userOf('unknown.example')
  assert.equal((await t.asked()).length, 2)
  t.passMs(1000)
  await t.userOf('unknown.example')
  await t.userOf('quay.io')
  assert.equal((await t.asked()).length, 3)
  t.passMs(270_000)
  await t.userOf('quay.io')
  assert.equal((await t.asked()).length, 4)
})

test('a helper that fails is logged once and means no login', async () => {
  await using t = await openLogins({ credsStore: 'store' })
  assert.equal(await t.userOf('broken.example'), undefined)
  t.passMs(60_000)
  assert.equal(await t.userOf('broken.example'), undefined)
  assert.deepEqual(t.lines, [
    {
      code: 'CREDENTIALS_INVALID',
      message: 'credential helper docker-credential-store: it ended with 7',
    },
  ])
})

test('a config.json that changes is read again, and its helpers are asked again', async () => {
  await using t = await openLogins({ credsStore: 'store' })
  assert.equal(await t.userOf('quay.io'), 'store')
  await writeFile(t.file, JSON.stringify({ credsStore: 'store', auths: {} }))
  assert.equal(await t.userOf('quay.io'), 'store')
  assert.equal((await t.asked()).length, 2)
  await writeFile(t.file, JSON.stringify({ credHelpers: { 'quay.io': 'host' } }))
  assert.equal(await t.userOf('quay.io'), 'host')
  await writeFile(t.file, 'broken')
  assert.equal(await t.userOf('quay.io'), undefined)
  assert.equal(t.lines.length, 1)
  await writeFile(t.file, JSON.stringify({ auths: { 'quay.io': inline('inline') } }))
  assert.equal(await t.userOf('quay.io'), 'inline')
})

test('whether there may be a login is known without a helper being asked', async () => {
  await using t = await openLogins({
    auths: { 'quay.io': inline('inline'), 'https://index.docker.io/v1/': inline('inline') },
    credHelpers: { 'ghcr.io': 'host' },
  })
  const registries = ['quay.io', 'docker.io', 'ghcr.io', 'quay.io.example', 'unknown.example']
  const found = await Promise.all(registries.map((registry) => t.mayHave(registry)))
  assert.deepEqual(found, [true, true, true, false, false])
  await writeFile(t.file, JSON.stringify({ credsStore: 'store' }))
  assert.equal(await t.mayHave('unknown.example'), true)
  assert.deepEqual(await t.asked(), [])
})
