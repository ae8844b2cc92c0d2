import assert from 'node:assert/strict'
import { test } from 'node:test'

import { isLoopback } from './push-guard.ts'

test('tells clients on this host from others', () => {
  for (const address of ['127.0.0.1', '127.3.2.1', '::1', '::ffff:127.0.0.1']) {
    assert.ok(isLoopback(address), address)
  }
  for (const address of [
    '10.0.0.1',
    '::ffff:10.0.0.1',
    '1127.0.0.1',
    '127.0.0.1.evil',
    '::2',
    '',
  ]) {
    assert.ok(!isLoopback(address), address)
  }
  assert.ok(!isLoopback(undefined))
})
