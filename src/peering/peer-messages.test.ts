import assert from 'node:assert/strict'
import { test } from 'node:test'

import { parseHello, parseNames, parseWarmOrder, parseWarmReport } from './peer-messages.ts'

const nodeId = 'c'.repeat(64)
const hello = { nodeId, nodeName: 'alpha', version: '1', peerPort: 1 }
const order = { nodeId, references: ['app:1'], load: false, parallel: 1 }
const report = {
  state: 'failed',
  size: 1,
  done: 0,
  bytes: { store: 0, peers: 0, upstream: 0 },
  loaded: false,
}

test('names that cannot be shown, or kept as UTF-8, are refused', () => {
  for (const name of ['\x1b[2J', 'a\nb', '\u0085', '\ud800', 'x\udc00']) {
    assert.throws(() => parseHello({ ...hello, nodeName: name }), { code: 'MESSAGE_INVALID' })
    assert.throws(() => parseNames({ names: ['app', name] }), { code: 'MESSAGE_INVALID' })
  }
  assert.equal(parseHello({ ...hello, nodeName: 'Büro 😀' }).nodeName, 'Büro 😀')
})

test('an order names a node, and nothing else', () => {
  assert.deepEqual(parseWarmOrder(order), order)
  for (const other of ['', 'x'.repeat(100_000), nodeId.toUpperCase(), 5])
    assert.throws(() => parseWarmOrder({ ...order, nodeId: other }), { code: 'MESSAGE_INVALID' })
})

test('what a node says of a failure can be shown on a terminal', () => {
  const { message } = parseWarmReport({ ...report, message: `\x1b]0;x\x07a${'😀'.repeat(600)}` })
  assert.ok(message === `\ufffd]0;x\ufffda${'😀'.repeat(496)}\ufffd`)
})
