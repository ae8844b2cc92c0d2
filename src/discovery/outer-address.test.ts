import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OuterAddress } from './outer-address.ts'

const HERE = Buffer.from([198, 51, 99, 7, 0x1a, 0xe1])
const ELSEWHERE = Buffer.from([198, 51, 99, 8, 0x1a, 0xe1])

function voters(
  outer: OuterAddress,
  { from, count, said }: { from: number; count: number; said: unknown },
) {
  for (let index = 0; index < count; index += 1) outer.onAnswer(`10.0.${from}.${index}`, said)
}

test('three that say the same are believed, two are not', () => {
  const outer = new OuterAddress()
  voters(outer, { from: 1, count: 2, said: HERE })
  assert.equal(outer.host, undefined)
  voters(outer, { from: 2, count: 1, said: HERE })
  assert.equal(outer.host, '198.51.99.7')
})

test('one that says it often counts once, and by what it said last', () => {
  const outer = new OuterAddress()
  for (let time = 0; time < 10; time += 1) outer.onAnswer('10.0.0.1', HERE)
  assert.equal(outer.host, undefined)
  voters(outer, { from: 1, count: 3, said: HERE })
  voters(outer, { from: 1, count: 3, said: ELSEWHERE })
  outer.onAnswer('10.0.0.1', ELSEWHERE)
  assert.equal(outer.host, '198.51.99.8')
})

test('without more than half of all nobody is believed', () => {
  const outer = new OuterAddress()
  voters(outer, { from: 1, count: 4, said: HERE })
  voters(outer, { from: 2, count: 4, said: ELSEWHERE })
  assert.equal(outer.host, undefined)
  voters(outer, { from: 3, count: 1, said: HERE })
  assert.equal(outer.host, '198.51.99.7')
})

test('what was said an hour ago counts no more', () => {
  let nowMs = 1
  const outer = new OuterAddress({ now: () => nowMs })
  voters(outer, { from: 1, count: 5, said: HERE })
  nowMs += 3_600_001
  assert.equal(outer.host, undefined)
})

test('what is no address of a host is not counted', () => {
  const outer = new OuterAddress()
  const loopback = Buffer.from([127, 0, 0, 1, 1, 1])
  const wrong = [
    undefined,
    null,
    1,
    'x',
    [],
    {},
    Buffer.alloc(0),
    Buffer.alloc(6),
    Buffer.alloc(18),
  ]
  for (const said of [...wrong, loopback, HERE.subarray(1)])
    voters(outer, { from: 1, count: 9, said })
  assert.equal(outer.host, undefined)
})
