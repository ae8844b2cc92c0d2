import assert from 'node:assert/strict'

import { decodeDatagram } from '../../discovery/krpc-bencode.ts'
import { isQuestionMessage, isWellFormed } from '../../discovery/krpc-shape.ts'
import { formatLanMessage, parseLanMessage } from '../../discovery/lan-message.ts'
import { CRASHERS, SANE } from '../datagram-fuzz.conformance.ts'
import type { FuzzTarget } from './fuzz.ts'
import { BENCODE, WORDS } from './grammars.ts'
import { assertReadAlike, bytesOf } from './promises.ts'

/** Datagrams of the DHT (BEP 5), as they stand before the library. */
export function datagramTarget(): FuzzTarget {
  return {
    name: 'datagram',
    grammar: BENCODE,
    seeds: [...SANE, ...CRASHERS].map((datagram) => datagram.toString('latin1')),
    codes: [],
    read(input) {
      const bytes = bytesOf(input)
      const message = decodeDatagram(bytes)
      if (message === undefined) return undefined
      assertReadAlike(message, bytes)
      const kind = isQuestionMessage(message) ? 'question' : 'no question'
      return `${isWellFormed(message) ? 'well-formed' : 'decoded'} ${kind} ${shapeOf(message)}`
    },
  }
}

/** Announcements on the local network (BEP 14). */
export function lanTarget(): FuzzTarget {
  const infoHash = 'ab'.repeat(20)
  const group = { group: '239.192.152.143', groupPort: 6771 }
  const message = formatLanMessage({ infoHash, port: 6881, cookie: 'c00kie' }, group)
  return {
    name: 'LAN message',
    grammar: WORDS,
    seeds: [
      message.toString('latin1'),
      formatLanMessage({ infoHash, port: 1, cookie: '' }, { ...group, group: 'ff15::1' }).toString(
        'latin1',
      ),
      message.toString('latin1').replace('cookie', 'Infohash: x\r\nX-Other'),
    ],
    codes: [],
    read(input) {
      const found = parseLanMessage(bytesOf(input))
      if (!found) return undefined
      assert.ok(found.infoHashes.length > 0 && found.infoHashes.length <= 64)
      for (const each of found.infoHashes) assert.match(each, /^[0-9a-f]{40}$/)
      assert.ok(Number.isInteger(found.port) && found.port > 0 && found.port < 65_536)
      assert.ok(found.cookie === undefined || /^[ -~]{0,64}$/.test(found.cookie))
      return `${found.infoHashes.length} ${found.cookie === undefined}`
    },
  }
}

/** Which fields there are, and of which kind: what the parser may treat differently. */
function shapeOf(value: unknown, depth = 0): string {
  if (value instanceof Map && depth < 2)
    return `{${[...value]
      .slice(0, 8)
      .map(([name, field]) => `${name.slice(0, 12)}${shapeOf(field, depth + 1)}`)
      .join()}}`
  if (value instanceof Buffer) return value.length < 20 ? 's' : 'S'
  return Array.isArray(value) ? 'l' : 'i'
}
