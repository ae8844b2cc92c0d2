import assert from 'node:assert/strict'
import { test } from 'node:test'

import { readLines } from './text-lines.ts'

async function linesOf(chunks: readonly Buffer[], maxChars = 100): Promise<string[]> {
  async function* source() {
    yield* chunks
  }
  return await Array.fromAsync(readLines(source(), { maxChars }))
}

test('gives the lines of a stream wherever it is cut', async () => {
  const content = Buffer.from('{"a":"ä€"}\r\n\n{"b":2}\n{"c":3}')
  for (let length = 1; length <= content.length; length += 1) {
    const chunks: Buffer[] = []
    for (let start = 0; start < content.length; start += length) {
      chunks.push(content.subarray(start, start + length))
    }
    assert.deepEqual(await linesOf(chunks), ['{"a":"ä€"}', '{"b":2}', '{"c":3}'])
  }
})

test('refuses a line that is too long, before it has come whole', async () => {
  const endless = Array.from({ length: 20 }, () => Buffer.alloc(10, 'x'))
  await assert.rejects(linesOf(endless), RangeError)
})
