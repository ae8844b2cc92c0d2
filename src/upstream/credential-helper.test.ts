import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { askCredentialHelper } from './credential-helper.ts'

const signal = AbortSignal.timeout(30_000)

/** Puts a helper before all others; it is a script of sh. */
async function helper(body: string) {
  const dir = await tempDir()
  await writeFile(join(dir.path, 'docker-credential-test'), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  const before = process.env['PATH'] ?? ''
  process.env['PATH'] = `${dir.path}${delimiter}${before}`
  return {
    [Symbol.asyncDispose]: async () => {
      process.env['PATH'] = before
      await dir[Symbol.asyncDispose]()
    },
  }
}

async function rejectsWithout(work: Promise<unknown>, canary: RegExp, found: RegExp) {
  await assert.rejects(work, (thrown) => {
    assert.ok(isOperationError(thrown, 'CREDENTIALS_INVALID'))
    assert.match(thrown.message, found)
    assert.doesNotMatch(`${thrown.message} ${JSON.stringify(thrown)}`, canary)
    return true
  })
}

test('a helper gets the server on its input and answers with a name and a secret', async () => {
  await using _ = await helper(
    'read server; echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"$1@$server\\",\\"Secret\\":\\"pw\\"}"',
  )
  assert.deepEqual(await askCredentialHelper('test', 'ghcr.io', { signal }), {
    kind: 'basic',
    username: 'get@ghcr.io',
    password: 'pw',
  })
})

test('the user <token> has an identity token', async () => {
  await using _ = await helper('echo \'{"Username":"<token>","Secret":"refresh"}\'')
  assert.deepEqual(await askCredentialHelper('test', 'ghcr.io', { signal }), {
    kind: 'identity-token',
    token: 'refresh',
  })
})

test('a helper that finds nothing is no error', async () => {
  await using _ = await helper('echo "credentials not found in native keychain"; exit 1')
  assert.equal(await askCredentialHelper('test', 'ghcr.io', { signal }), undefined)
})

test('a helper that is not there, fails, talks nonsense or too much is an error that tells no secret', async () => {
  await rejectsWithout(askCredentialHelper('absent-one', 'a', { signal }), /PATH/, /ENOENT/)
  {
    await using _ = await helper('echo canary; echo canary >&2; exit 3')
    await rejectsWithout(askCredentialHelper('test', 'a', { signal }), /canary/, /ended with 3/)
  }
  {
    await using _ = await helper('echo canary')
    await rejectsWithout(
      askCredentialHelper('test', 'a', { signal }),
      /canary/,
      /its answer is not/,
    )
  }
  {
    await using _ = await helper('while :; do echo canarycanarycanarycanarycanary; done')
    await rejectsWithout(askCredentialHelper('test', 'a', { signal }), /canary/, /more than 64 KiB/)
  }
})

test('a helper that hangs is stopped', async () => {
  await using _ = await helper('exec sleep 60')
  const asked = askCredentialHelper('test', 'a', { signal, timeoutMs: 50 })
  await rejectsWithout(asked, /canary/, /no answer in 50 ms/)
})

test('a helper ends with the signal', async () => {
  await using _ = await helper('exec sleep 60')
  const controller = new AbortController()
  const asked = askCredentialHelper('test', 'a', { signal: controller.signal })
  controller.abort(new Error('enough'))
  await assert.rejects(asked, { message: 'enough' })
})
