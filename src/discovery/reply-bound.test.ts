import assert from 'node:assert/strict'
import { test } from 'node:test'

import { fitReply, maxReplyBytes } from './reply-bound.ts'

test('a stranger gets twice what it sent, a known node what fits a packet', () => {
  assert.equal(maxReplyBytes({ bytes: 100, isKnown: false }), 200)
  assert.equal(maxReplyBytes({ bytes: 2000, isKnown: false }), 1200)
  assert.equal(maxReplyBytes({ bytes: 100, isKnown: true }), 1200)
})

test('addresses go first, then nodes, and neither more than there are', () => {
  assert.deepEqual(fitReply({ roomBytes: 1100, valueCount: 3, nodeCount: 20 }), {
    valueCount: 3,
    nodeCount: 20,
  })
  assert.deepEqual(fitReply({ roomBytes: 1100, valueCount: 500, nodeCount: 20 }), {
    valueCount: 64,
    nodeCount: 20,
  })
  assert.deepEqual(fitReply({ roomBytes: 280, valueCount: 500, nodeCount: 8 }), {
    valueCount: 33,
    nodeCount: 0,
  })
  assert.deepEqual(fitReply({ roomBytes: 280, valueCount: 0, nodeCount: 20 }), {
    valueCount: 0,
    nodeCount: 10,
  })
  assert.deepEqual(fitReply({ roomBytes: -5, valueCount: 5, nodeCount: 5 }), {
    valueCount: 0,
    nodeCount: 0,
  })
})
