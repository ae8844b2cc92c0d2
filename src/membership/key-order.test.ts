import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  compareOrders,
  formatKeyOrders,
  MAX_KEY_ORDERS,
  MAX_REVOKED,
  nextGeneration,
  parseKeyOrders,
  signKeyOrder,
  type KeyOrder,
} from './key-order.ts'
import { makeNodeIdentity } from './node-identity.ts'
import { makeSwarmKey } from './swarm-key.ts'

const NOW_MS = 1_800_000_000_000
const identity = makeNodeIdentity()

test('an order comes out as it was given', () => {
  const orders = [orderOf({}), orderOf({ revoked: ['a'.repeat(64)], overlapMs: 0 })]
  assert.deepEqual(parse(orders), orders)
})

const order = () => JSON.parse(JSON.stringify(formatKeyOrders([orderOf({})]))).orders[0]
const wrongs: [string, unknown][] = [
  ['nothing', undefined],
  ['a list of texts', { orders: ['x'] }],
  ['too many', { orders: Array.from({ length: MAX_KEY_ORDERS + 1 }, order) }],
  ['one without a key', { orders: [{ ...order(), key: undefined }] }],
  ['one with another key', { orders: [{ ...order(), key: 'b'.repeat(64) }] }],
  ['one with an upper-case key', { orders: [{ ...order(), key: 'B'.repeat(64) }] }],
  ['one of another issuer', { orders: [{ ...order(), issuer: makeNodeIdentity().nodeId }] }],
  ['one with a longer overlap', { orders: [{ ...order(), overlapMs: 2000 }] }],
  ['one that shuts out more', { orders: [{ ...order(), revoked: ['c'.repeat(64)] }] }],
  ['one from elsewhere', { orders: [{ ...order(), from: '0'.repeat(16) }] }],
  ['one that overlaps for ever', { orders: [{ ...order(), overlapMs: Infinity }] }],
  ['one from tomorrow', formatKeyOrders([orderOf({ generation: NOW_MS + 86_400_000 })])],
  [
    'one whose issuer shuts himself out',
    formatKeyOrders([orderOf({ revoked: [identity.nodeId] })]),
  ],
  ['one that names somebody twice', formatKeyOrders([orderOf({ revoked: ids(1).concat(ids(1)) })])],
  ['one that shuts out too many', formatKeyOrders([orderOf({ revoked: ids(MAX_REVOKED + 1) })])],
]
for (const [what, value] of wrongs) {
  test(`refuses ${what}`, () => {
    const heard: unknown = JSON.parse(JSON.stringify(value ?? null))
    assert.throws(() => parseKeyOrders(heard, NOW_MS), { code: 'RECORD_INVALID' })
  })
}

test('the later order comes last; of two at one moment everybody takes the same', () => {
  const [early, late] = [orderOf({ generation: 1 }), orderOf({ generation: 2 })]
  assert.ok(compareOrders(early, late) < 0)
  const twin = orderOf({ generation: 2 })
  assert.equal(compareOrders(late, twin), -compareOrders(twin, late))
  assert.notEqual(compareOrders(late, twin), 0)
})

test('the next order is of now, and above what a clock ahead has given', () => {
  assert.equal(nextGeneration(5, 10), 10)
  assert.equal(nextGeneration(10, 10), 11)
  assert.equal(nextGeneration(20, 10), 21)
})

function parse(orders: readonly KeyOrder[]): KeyOrder[] {
  return parseKeyOrders(JSON.parse(JSON.stringify(formatKeyOrders(orders))), NOW_MS)
}

function orderOf(fields: Partial<KeyOrder>): KeyOrder {
  const given = { generation: NOW_MS, from: 'f'.repeat(16), key: makeSwarmKey(), revoked: [] }
  return signKeyOrder({ ...given, overlapMs: 1000, ...fields }, identity)
}

function ids(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index).padStart(64, '0'))
}
