import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  fittingCount,
  formatMemberList,
  LIST_BYTES,
  parseMemberList,
  type ListedMember,
} from './member-list.ts'

const alpha: ListedMember = {
  tag: '0123456789abcdef',
  seenAtMs: 1_800_000_000_000,
  addresses: [
    { host: '198.51.99.7', port: 6881 },
    { host: '10.0.0.7', port: 6881 },
    { host: '2600:1f18::7', port: 65_535 },
    { host: 'fd00::1', port: 1 },
    { host: '100.64.0.9', port: 6881 },
  ],
}

function member(index: number, addresses = alpha.addresses): ListedMember {
  return { tag: index.toString(16).padStart(16, '0'), seenAtMs: alpha.seenAtMs, addresses }
}

test('gives back what was put in, whatever it is always of one length', () => {
  for (const members of [[], [alpha], [alpha, member(1, alpha.addresses.slice(0, 1))]]) {
    const bytes = formatMemberList(members)
    assert.equal(bytes.length, LIST_BYTES)
    assert.deepEqual(parseMemberList(bytes), members)
  }
})

test('takes as many members as fit, and says how many', () => {
  const small = Array.from({ length: 100 }, (_, index) =>
    member(index, alpha.addresses.slice(0, 1)),
  )
  const large = Array.from({ length: 100 }, (_, index) => member(index))
  for (const members of [small, large]) {
    const count = fittingCount(members)
    assert.deepEqual(parseMemberList(formatMemberList(members)), members.slice(0, count))
  }
  assert.equal(fittingCount(small), 43)
  assert.equal(fittingCount(large), 12)
})

test('leaves out addresses where nobody else can be, and who has no other', () => {
  const nowhere = ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '169.254.1.1', '::1']
  const more = ['fe80::1', 'ff02::1', '::ffff:10.0.0.1', '240.0.0.1', '0.1.2.3']
  const hosts = [...nowhere, ...more]
  for (const host of hosts) {
    const members = [
      member(1, [
        { host, port: 6881 },
        { host: '10.0.0.1', port: 6881 },
      ]),
    ]
    const parsed = parseMemberList(
      formatMemberList([...members, member(2, [{ host, port: 6881 }])]),
    )
    assert.deepEqual(parsed, [member(1, [{ host: '10.0.0.1', port: 6881 }])], host)
  }
  const portless = formatMemberList([member(1, [{ host: '10.0.0.1', port: 0 }])])
  assert.deepEqual(parseMemberList(portless), [])
})

test('who is on loopback finds others there', () => {
  const members = [member(1, [{ host: '127.0.0.1', port: 6881 }])]
  assert.deepEqual(parseMemberList(formatMemberList(members), { onLoopback: true }), members)
})

test('what is no list is none: length, format, counts, kinds, what comes after', () => {
  const good = formatMemberList([alpha])
  const changed = (at: number, byte: number) => Buffer.from(good).fill(byte, at, at + 1)
  const firstKind = 2 + 8 + 4 + 1
  const wrong = [
    Buffer.alloc(0),
    good.subarray(1),
    Buffer.concat([good, Buffer.alloc(1)]),
    changed(0, 0),
    changed(0, 2),
    changed(1, 0),
    changed(1, 2),
    changed(1, 255),
    changed(firstKind - 1, 6),
    changed(firstKind - 1, 255),
    changed(firstKind, 0),
    changed(firstKind, 5),
    changed(LIST_BYTES - 1, 1),
    Buffer.alloc(LIST_BYTES, 1),
    Buffer.alloc(LIST_BYTES, 255),
  ]
  for (const bytes of wrong) assert.equal(parseMemberList(bytes), undefined)
  assert.equal(parseMemberList(Buffer.alloc(LIST_BYTES)), undefined)
})
