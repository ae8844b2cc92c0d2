import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { engineError } from './engine-error.ts'

const REQUEST = { what: 'list', host: 'unix:///docker.sock' }

for (const [code, expected] of [
  ['ENOENT', 'ENGINE_UNAVAILABLE'],
  ['ECONNREFUSED', 'ENGINE_UNAVAILABLE'],
  ['ECONNRESET', 'ENGINE_UNAVAILABLE'],
  ['EPIPE', 'ENGINE_UNAVAILABLE'],
  ['EACCES', 'ENGINE_PERMISSION'],
  ['EPERM', 'ENGINE_PERMISSION'],
  ['EWHATEVER', 'ENGINE_FAILED'],
] as const) {
  test(`takes ${code} for ${expected}`, () => {
    const cause = Object.assign(new Error(`connect ${code}`), { code })
    const error = engineError(cause, REQUEST)
    assert.ok(error instanceof OperationError)
    assert.equal(error.code, expected)
    assert.match(error.message, new RegExp(`list: connect ${code}`))
    assert.equal(error.cause, cause)
  })
}

test('leaves our own errors and the reason of a signal as they are', () => {
  const own = new OperationError('DISK_FULL', 'no room')
  assert.equal(engineError(own, REQUEST), own)
  const reason = new Error('enough')
  assert.equal(engineError(own, { ...REQUEST, signal: AbortSignal.abort(reason) }), reason)
})
