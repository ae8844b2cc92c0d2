import assert from 'node:assert/strict'
import { test } from 'node:test'

import { measureOptions } from './measure-options.ts'

const defaults = { blob: 64, rate: '50mbit' }

test('options have the types of their defaults', () => {
  assert.deepEqual(measureOptions(defaults, []), defaults)
  assert.deepEqual(measureOptions(defaults, ['--blob=1MiB', '--rate=10mbit']), {
    blob: 1024 * 1024,
    rate: '10mbit',
  })
})

test('an unknown option is refused', () => {
  assert.throws(() => measureOptions(defaults, ['--blub=1']), TypeError)
})
