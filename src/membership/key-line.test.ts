import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  isInLine,
  keyStateAt,
  lastOrder,
  newKeyLine,
  revokedIn,
  withOrders,
  type KeyLine,
} from './key-line.ts'
import { MAX_KEY_ORDERS, signKeyOrder, type KeyOrder } from './key-order.ts'
import { makeNodeIdentity, type NodeIdentity } from './node-identity.ts'
import { makeSwarmKey, swarmIdOf, type SwarmKey } from './swarm-key.ts'

const HOUR_MS = 3600e3
const SETTLE_MS = 10
const [ann, bob, eve] = [makeNodeIdentity(), makeNodeIdentity(), makeNodeIdentity()]
const base = makeSwarmKey()
const self = 'f'.repeat(64)

test('a key counts at once, is sent with a moment later, and the one before ends in its time', () => {
  const rotated = orderOf(ann, { generation: 1000, overlapMs: HOUR_MS })
  const line = heard(newKeyLine(base), [rotated], 1005)
  const at = (nowMs: number) => statesAt(line, nowMs)
  assert.deepEqual(at(1005), { current: 0, accepted: [1, 0], former: [] })
  assert.deepEqual(at(1015), { current: 1, accepted: [1, 0], former: [] })
  assert.deepEqual(at(1000 + HOUR_MS), { current: 1, accepted: [1], former: [0] })
  assert.equal(keyStateAt(line, { nowMs: 1005, settleMs: SETTLE_MS }).nextChangeAtMs, 1015)
  const later = { nowMs: 1000 + HOUR_MS, settleMs: SETTLE_MS }
  assert.equal(keyStateAt(line, later).nextChangeAtMs, Infinity)
})

test('where somebody is shut out, the next key is sent with at once, and the one before is good for who was met', () => {
  const revoking = orderOf(ann, { generation: 1000, overlapMs: 0, revoked: [eve.nodeId] })
  const line = heard(newKeyLine(base), [revoking], 1005)
  const at = (nowMs: number) => statesAt(line, nowMs)
  assert.deepEqual(at(1005), { current: 1, accepted: [1, 0], former: [0] })
  assert.deepEqual(at(1025), { current: 1, accepted: [1], former: [0] })
  const { revoked, former } = keyStateAt(line, { nowMs: 1005, settleMs: SETTLE_MS })
  assert.deepEqual([...revoked], [eve.nodeId])
  assert.equal(former[0]?.endedAtMs, 1000)
})

test('the same orders, in whatever sequence they are heard, end with the same key', () => {
  const orders = [
    orderOf(ann, { generation: 1000 }),
    orderOf(bob, { generation: 1000 }),
    orderOf(ann, { generation: 1001, revoked: [eve.nodeId] }),
    orderOf(bob, { generation: 1002, revoked: [eve.nodeId] }),
  ]
  const ends = new Set<string>()
  for (const order of permutations(orders)) {
    let line = newKeyLine(base)
    for (const each of order) line = heard(line, [each], 2000)
    ends.add(lastOrder(line)?.signature ?? '')
    assert.deepEqual(revokedIn(line), [eve.nodeId])
  }
  assert.deepEqual([...ends], [orders[3]?.signature])
})

test('who is shut out gives no orders: neither later, nor as if before', () => {
  const revoking = orderOf(ann, { generation: 1000, revoked: [eve.nodeId] })
  const line = heard(newKeyLine(base), [revoking], 1000)
  for (const generation of [999, 1001, 5000]) {
    const forged = orderOf(eve, { generation, revoked: [ann.nodeId, bob.nodeId] })
    const after = heard(line, [forged], 6000)
    assert.equal(lastOrder(after)?.signature, revoking.signature)
    assert.deepEqual(revokedIn(after), [eve.nodeId])
  }
  // The other way round what it gave before that was heard counts no more, and its key for nobody new.
  const own = orderOf(eve, { generation: 1001 })
  const overtaken = heard(heard(newKeyLine(base), [own], 1001), [revoking], 1002)
  assert.equal(lastOrder(overtaken)?.signature, revoking.signature)
  const { accepted } = keyStateAt(overtaken, { nowMs: 1002, settleMs: SETTLE_MS })
  assert.ok(!accepted.some((key) => key.equals(own.key)))
})

test('does not obey who shuts out this node, and takes nothing that leads nowhere', () => {
  const line = newKeyLine(base)
  assert.equal(heard(line, [orderOf(ann, { revoked: [self] })], 1000), line)
  assert.equal(heard(line, [orderOf(ann, { from: makeSwarmKey() })], 1000), line)
  const order = orderOf(ann, {})
  const known = heard(line, [order], 1000)
  assert.equal(heard(known, [order], 1000), known)
})

test('who was off, or came later, follows a chain from any of its keys', () => {
  const first = orderOf(ann, { generation: 1000 })
  const second = orderOf(bob, { generation: 2000, from: first.key })
  for (const start of [base, first.key]) {
    const line = heard(newKeyLine(start), [second, first], 3000)
    assert.equal(lastOrder(line)?.signature, second.signature)
  }
  assert.equal(lastOrder(heard(newKeyLine(second.key), [second, first], 3000))?.key, second.key)
})

test('keeps few orders, what they did, and no more keys than that', () => {
  let line = newKeyLine(base)
  let from = base
  const keys = [base]
  for (let index = 1; index <= 20; index += 1) {
    const revoked = [String(index).padStart(64, '0')]
    const order = orderOf(ann, { generation: index * 1000, overlapMs: 0, from, revoked })
    line = heard(line, [order], index * 1000)
    from = order.key
    keys.push(from)
  }
  assert.equal(line.orders.length, MAX_KEY_ORDERS)
  assert.equal(revokedIn(line).length, 20)
  const kept = keys.filter((key) => isInLine(line, key))
  assert.equal(kept.length, MAX_KEY_ORDERS + 1)
  const { accepted, former } = keyStateAt(line, { nowMs: 20_000, settleMs: HOUR_MS })
  assert.ok(accepted.length <= 5)
  assert.equal(former.length, MAX_KEY_ORDERS)
})

function heard(line: KeyLine, orders: readonly KeyOrder[], nowMs: number): KeyLine {
  return withOrders(line, orders, { ownId: self, nowMs })
}

/** Which keys count, by their place in the line. */
function statesAt(line: KeyLine, nowMs: number) {
  const keys = [line.base.key, ...line.orders.map(({ key }) => key)]
  const place = (key: SwarmKey) => keys.indexOf(key)
  const { current, accepted, former } = keyStateAt(line, { nowMs, settleMs: SETTLE_MS })
  return {
    current: place(current),
    accepted: accepted.map(place),
    former: former.map(({ key }) => place(key)),
  }
}

function orderOf(
  issuer: NodeIdentity,
  { from = base, ...fields }: Partial<Omit<KeyOrder, 'from'>> & { from?: SwarmKey },
): KeyOrder {
  const given = { generation: 1000, key: makeSwarmKey(), revoked: [], overlapMs: HOUR_MS }
  return signKeyOrder({ ...given, ...fields, from: swarmIdOf(from) }, issuer)
}

function permutations<Value>(values: readonly Value[]): Value[][] {
  if (values.length <= 1) return [[...values]]
  return values.flatMap((value, index) =>
    permutations(values.toSpliced(index, 1)).map((rest) => [value, ...rest]),
  )
}
