import assert from 'node:assert/strict'
import { test } from 'node:test'

import { testSwarmKey } from '../testing/dht-testnet.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { DatagramSeal, MAX_SEALED_BODY_BYTES, SEAL_BYTES } from './sealed-datagram.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'

const KEY = testSwarmKey('sealed')
const NOW_MS = 1_800_000_000_000
const body = Buffer.from('d1:ad2:id20:')

function sealOf({
  keys = [KEY],
  label = 'a',
  nowMs = NOW_MS,
}: { keys?: (typeof KEY)[]; label?: string; nowMs?: number } = {}): DatagramSeal {
  const [first = KEY, ...others] = keys
  return new DatagramSeal({ swarmKeys: new SwarmKeys(first, ...others), label, now: () => nowMs })
}

test('what one member seals another opens, of every length that fits', () => {
  const [ours, theirs] = [sealOf(), sealOf()]
  const random = new SeededRandom(1)
  for (const length of [0, 1, 185, 186, 187, 600, MAX_SEALED_BODY_BYTES]) {
    const bytes = random.bytes(length)
    assert.deepEqual(theirs.open(ours.seal(bytes)), bytes, `${length} bytes`)
  }
  assert.throws(() => ours.seal(Buffer.alloc(MAX_SEALED_BODY_BYTES + 1)), RangeError)
})

test('the length tells the size in six steps, and fits every path', () => {
  const sizes = new Set<number>()
  for (let length = 0; length <= MAX_SEALED_BODY_BYTES; length += 1) {
    const { length: bytes } = sealOf().seal(Buffer.alloc(length))
    assert.ok(bytes >= length + SEAL_BYTES && bytes < length + SEAL_BYTES + 192)
    sizes.add(bytes)
  }
  assert.deepEqual([...sizes], [220, 412, 604, 796, 988, 1180])
})

test('nothing of what is inside can be seen, and the same words look different each time', () => {
  const seal = sealOf()
  const seen = [seal.seal(body), seal.seal(body)]
  for (const datagram of seen) assert.equal(datagram.includes(body), false)
  const [first, second] = seen.map((datagram) => datagram.toString('hex'))
  let equalBytes = 0
  for (let at = 0; at < 440; at += 2) {
    if (first?.slice(at, at + 2) === second?.slice(at, at + 2)) equalBytes += 1
  }
  // Of 220, about one is so by chance.
  assert.ok(equalBytes < 16, `${equalBytes} equal bytes`)
})

test('is taken once, also by who made it, unless it may come back', () => {
  const [ours, theirs] = [sealOf(), sealOf()]
  const datagram = ours.seal(body)
  assert.deepEqual(theirs.open(datagram), body)
  assert.equal(theirs.open(datagram), undefined)
  assert.equal(ours.open(datagram), undefined)
  const own = ours.seal(body, { mayReturn: true })
  assert.deepEqual(ours.open(own), body)
  assert.equal(ours.open(own), undefined)
})

test('is refused a minute later, and when it comes from a clock more than a minute ahead', () => {
  const datagram = sealOf().seal(body)
  for (const [aheadMs, isOpened] of [
    [-61_000, false],
    [-60_000, true],
    [60_000, true],
    [61_000, false],
  ] as const) {
    const opened = sealOf({ nowMs: NOW_MS + aheadMs }).open(datagram)
    assert.equal(opened !== undefined, isOpened, `${aheadMs} ms`)
  }
})

test('another key, or another use of this one, opens nothing', () => {
  const datagram = sealOf().seal(body)
  assert.equal(sealOf({ keys: [testSwarmKey('other')] }).open(datagram), undefined)
  assert.equal(sealOf({ label: 'b' }).open(datagram), undefined)
})

test('while a swarm changes its key, both are opened and the first one seals', () => {
  const next = testSwarmKey('next')
  const [before, between, after] = [
    sealOf(),
    sealOf({ keys: [KEY, next] }),
    sealOf({ keys: [next, KEY] }),
  ]
  assert.deepEqual(between.open(after.seal(body)), body)
  assert.deepEqual(after.open(between.seal(body)), body)
  assert.deepEqual(after.open(before.seal(body)), body)
  assert.equal(before.open(after.seal(body)), undefined)
  const datagram = before.seal(body)
  assert.deepEqual(after.open(datagram), body)
  assert.equal(after.open(datagram), undefined)
})

test('one bit changed anywhere, a byte too few or too many, and it does not open', () => {
  const seal = sealOf()
  const datagram = seal.seal(body, { mayReturn: true })
  for (let bit = 0; bit < datagram.length * 8; bit += 1) {
    const changed = Buffer.from(datagram)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    assert.equal(seal.open(changed), undefined, `bit ${bit}`)
  }
  for (let length = 0; length < datagram.length; length += 1) {
    assert.equal(seal.open(datagram.subarray(0, length)), undefined, `${length} bytes`)
  }
  assert.equal(seal.open(Buffer.concat([datagram, Buffer.alloc(1)])), undefined)
  assert.equal(seal.open(Buffer.concat([datagram, Buffer.alloc(192)])), undefined)
  assert.deepEqual(seal.open(datagram), body)
})
