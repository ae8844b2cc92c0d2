import assert from 'node:assert/strict'
import { test } from 'node:test'

import { chunkedBody } from './chunked-body.ts'

test('puts chunks together, however the bytes arrive', async () => {
  const wire = '5\r\nhello\r\n7;name=value\r\n, world\r\n0\r\nTrailer: x\r\n\r\n'
  for (let cut = 1; cut <= wire.length; cut += 1) {
    const parts: string[] = []
    for (let at = 0; at < wire.length; at += cut) parts.push(wire.slice(at, at + cut))
    assert.equal(await decode(parts), 'hello, world', `${cut} bytes at a time`)
  }
})

test('a body that breaks off is no end', async () => {
  for (const wire of ['', '5', '5\r\nhel', '5\r\nhello\r\n', '5\r\nhello\r\n0\r\n']) {
    await assert.rejects(decode([wire]), { code: 'ECONNRESET' }, JSON.stringify(wire))
  }
})

test('what is not chunked is refused', async () => {
  for (const wire of ['x\r\n', '-5\r\nhello\r\n', '5\r\nhelloX\r\n', '0'.repeat(5000)]) {
    await assert.rejects(
      decode([wire, '0\r\n\r\n']),
      SyntaxError,
      JSON.stringify(wire.slice(0, 20)),
    )
  }
})

async function decode(parts: readonly string[]): Promise<string> {
  const left = parts.map((part) => Buffer.from(part)).filter((part) => part.length > 0)
  const chunks = await Array.fromAsync(chunkedBody(() => Promise.resolve(left.shift())))
  return Buffer.concat(chunks).toString()
}
