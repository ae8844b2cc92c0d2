import assert from 'node:assert/strict'
import { test } from 'node:test'

import { readResponseHead } from './response-head.ts'

const read = (...lines: string[]) => readResponseHead(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`))

test('reads status, headers and where the body begins', () => {
  const bytes = Buffer.from(
    'HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nX-A: 1\r\nx-a:  2 \r\n\r\nhello',
  )
  const head = readResponseHead(bytes)
  assert.deepEqual(
    { ...head, headers: { ...head?.headers } },
    {
      status: 206,
      headers: { 'content-length': '5', 'x-a': ['1', '2'] },
      length: bytes.length - 5,
      isKept: true,
      bodyLength: 5,
      isChunked: false,
    },
  )
})

test('waits for the rest of a head', () => {
  const whole = 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n'
  for (let length = 0; length < whole.length; length += 1) {
    assert.equal(readResponseHead(Buffer.from(whole.slice(0, length))), undefined)
  }
  assert.equal(readResponseHead(Buffer.from(whole))?.status, 200)
})

test('passes over informational heads', () => {
  const head = read(
    'HTTP/1.1 103 Early Hints',
    'link: x',
    '',
    'HTTP/1.1 200 OK',
    'content-length: 0',
  )
  assert.equal(head?.status, 200)
})

test('knows whether the connection goes on', () => {
  assert.equal(read('HTTP/1.1 200 OK', 'content-length: 1')?.isKept, true)
  assert.equal(read('HTTP/1.1 200 OK', 'content-length: 1', 'Connection: Close')?.isKept, false)
  assert.equal(read('HTTP/1.0 200 OK', 'content-length: 1')?.isKept, false)
  assert.equal(read('HTTP/1.1 200 OK', 'transfer-encoding: chunked')?.isKept, false)
  assert.equal(read('HTTP/1.1 200 OK')?.isKept, false)
})

test('knows the length of the body', () => {
  assert.equal(read('HTTP/1.1 204 No Content')?.bodyLength, 0)
  assert.equal(read('HTTP/1.1 200 OK')?.bodyLength, Infinity)
  const chunked = read('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')
  assert.deepEqual([chunked?.bodyLength, chunked?.isChunked], [Infinity, true])
})

test('refuses what two readers could take for two things', () => {
  for (const lines of [
    ['SSH-2.0-OpenSSH_9.6'],
    ['HTTP/2 200'],
    ['HTTP/1.1 20 OK'],
    ['HTTP/1.1 200 OK', 'content-length: 1', 'content-length: 1'],
    ['HTTP/1.1 200 OK', 'content-length: 1', 'transfer-encoding: chunked'],
    ['HTTP/1.1 200 OK', 'transfer-encoding: gzip, chunked'],
    ['HTTP/1.1 200 OK', 'content-length: -1'],
    ['HTTP/1.1 200 OK', 'content-length: 0x10'],
    ['HTTP/1.1 200 OK', 'content-length : 1'],
    ['HTTP/1.1 200 OK', 'x: a', ' folded: b'],
    ['HTTP/1.1 200 OK', 'x: a\nb: c'],
    ['HTTP/1.1 200 OK', 'no header at all'],
  ]) {
    assert.throws(() => read(...lines), SyntaxError, lines.join(' | '))
  }
})
