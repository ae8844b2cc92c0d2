import assert from 'node:assert/strict'
import { test } from 'node:test'

import { decodeBencode } from './bencode.ts'

test('a key that other decoders read as another one is refused', () => {
  // UTF-8 decoders swallow a byte order mark: bencode 4.0.1 finds `__proto__` and a second `t` here.
  for (const key of ['__proto__', '\xef\xbb\xbf__proto__', '\xef\xbb\xbft', '\xff', '\0', 'a\n']) {
    const text = `d${key.length}:${key}d1:ai1eee`
    assert.equal(decodeBencode(Buffer.from(text, 'latin1')), undefined, JSON.stringify(key))
  }
  const printable = decodeBencode(Buffer.from('d9:to string1:x0:i1ee'))
  assert.deepEqual(
    printable,
    new Map<string, unknown>([
      ['to string', Buffer.from('x')],
      ['', 1],
    ]),
  )
})
