import assert from 'node:assert/strict'

import { meetingPlaceOf } from '../../discovery/meeting-place.ts'
import {
  formatMemberList,
  isDiallable,
  LIST_BYTES,
  parseMemberList,
  type ListedMember,
} from '../../discovery/member-list.ts'
import { openMemberList, sealMemberList } from '../../discovery/sealed-member-list.ts'
import type { SwarmKey } from '../../membership/swarm-key.ts'
import type { FuzzTarget } from './fuzz.ts'
import { WIRE_MESSAGE, type Grammar } from './grammars.ts'
import { bytesOf } from './promises.ts'

const INSIDE = '\0'
const { sealingKey } = meetingPlaceOf(Buffer.alloc(32, 7) as SwarmKey, 20_000)
// Counts and kinds are single bytes, wherever they stand.
const LIST_GRAMMAR: Grammar = {
  ...WIRE_MESSAGE,
  spansOf: (text) =>
    Array.from({ length: Math.min(text.length, 120) }, (_, start) => ({ start, end: start + 1 })),
  splinters: ['\0', '\x01', '\x02', '\x04', '\x05', '\x06', '\xff', '\0\0\0\0', '\x7f\0\0\x01'],
  nests: [['\x04', '\0']],
}

/**
 * The value of the meeting item on mainline: as strangers may change it, and, behind a mark, what a member that went mad
 * may put inside.
 */
export function meetingItemTarget(): FuzzTarget {
  const lists = [[], [memberOf(1)], [memberOf(1), memberOf(5)], [3, 2, 4].map(memberOf)].map(
    formatMemberList,
  )
  const sealed = lists.map((list) => sealMemberList(list, sealingKey).toString('latin1'))
  const contents = lists.map((list) => INSIDE + list.toString('latin1').replace(/\0+$/, ''))
  return {
    name: 'meeting item',
    grammar: LIST_GRAMMAR,
    seeds: [...contents, ...sealed],
    codes: [],
    read(input) {
      if (input.startsWith(INSIDE)) return readList(filledUp(input.slice(INSIDE.length)))
      const list = openMemberList(bytesOf(input), sealingKey)
      if (!list) return undefined
      assert.ok(sealed.includes(input), 'a value that nobody made')
      return `opened ${readList(list)}`
    },
  }
}

function readList(list: Buffer): string | undefined {
  const members = parseMemberList(list)
  if (!members) return undefined
  assert.ok(members.length <= 64)
  for (const { tag, seenAtMs, addresses } of members) {
    assert.match(tag, /^[0-9a-f]{16}$/)
    assert.ok(Number.isSafeInteger(seenAtMs) && seenAtMs >= 0)
    assert.ok(addresses.length >= 1 && addresses.length <= 5)
    for (const address of addresses) assert.ok(isDiallable(address), JSON.stringify(address))
  }
  assert.deepEqual(parseMemberList(formatMemberList(members)), members)
  return members.map(({ addresses }) => addresses.length).join('')
}

function filledUp(content: string): Buffer {
  const list = Buffer.alloc(LIST_BYTES)
  list.set(bytesOf(content).subarray(0, LIST_BYTES))
  return list
}

function memberOf(addressCount: number): ListedMember {
  const hosts = ['10.0.0.7', '198.51.99.7', '2600:1f18::7', 'fd00::7', '100.64.0.7']
  return {
    tag: `0${addressCount}`.repeat(8),
    seenAtMs: 1_800_000_000_000,
    addresses: hosts.slice(0, addressCount).map((host) => ({ host, port: 6881 })),
  }
}
