import assert from 'node:assert/strict'
import { test } from 'node:test'

import { testSwarmKey } from '../testing/dht-testnet.ts'
import { meetingPlaceOf } from './meeting-place.ts'
import { formatMemberList, LIST_BYTES } from './member-list.ts'
import { openMemberList, sealMemberList, SEALED_LIST_BYTES } from './sealed-member-list.ts'

const { sealingKey } = meetingPlaceOf(testSwarmKey('sealed'), 1)
const list = formatMemberList([
  { tag: '0123456789abcdef', seenAtMs: 0, addresses: [{ host: '10.0.0.1', port: 6881 }] },
])

test('members of the day open it, and nobody else', () => {
  const value = sealMemberList(list, sealingKey)
  assert.deepEqual(openMemberList(value, sealingKey), list)
  for (const [name, day] of [
    ['sealed', 2],
    ['other', 1],
  ] as const) {
    const other = meetingPlaceOf(testSwarmKey(name), day).sealingKey
    assert.equal(openMemberList(value, other), undefined)
  }
})

test('any byte that is changed, and any other length, is refused', () => {
  const value = sealMemberList(list, sealingKey)
  for (const at of value.keys()) {
    const changed = Buffer.from(value)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.equal(openMemberList(changed, sealingKey), undefined)
  }
  const lengths = [Buffer.alloc(0), value.subarray(1), Buffer.concat([value, Buffer.alloc(1)])]
  for (const bytes of lengths) assert.equal(openMemberList(bytes, sealingKey), undefined)
})

test('all values have one length and nothing in common, also those of the same list', () => {
  const values = Array.from({ length: 50 }, (_, index) =>
    sealMemberList(index % 2 === 0 ? list : Buffer.alloc(LIST_BYTES), sealingKey),
  )
  for (const value of values) assert.equal(value.length, SEALED_LIST_BYTES)
  for (let at = 0; at + 8 <= SEALED_LIST_BYTES; at += 8) {
    assert.equal(new Set(values.map((value) => value.readBigUInt64BE(at))).size, values.length)
  }
  // BEP 44
  assert.ok(`${SEALED_LIST_BYTES}:`.length + SEALED_LIST_BYTES <= 1000)
})
