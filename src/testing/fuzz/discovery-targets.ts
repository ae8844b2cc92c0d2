import assert from 'node:assert/strict'
import { createCipheriv, createSecretKey, type KeyObject } from 'node:crypto'

import { decodeDatagram } from '../../discovery/krpc-bencode.ts'
import { isQuestionMessage, isWellFormed } from '../../discovery/krpc-shape.ts'
import { formatLanMessage, parseLanMessage } from '../../discovery/lan-message.ts'
import {
  formatSealedLanMessage,
  parseSealedLanMessage,
} from '../../discovery/sealed-lan-message.ts'
import { DatagramSeal, MAX_SEALED_BODY_BYTES } from '../../discovery/sealed-datagram.ts'
import { deriveKey, type SwarmKey } from '../../membership/swarm-key.ts'
import { SwarmKeys } from '../../membership/swarm-keys.ts'
import { CRASHERS, SANE } from '../datagram-fuzz.conformance.ts'
import type { FuzzTarget } from './fuzz.ts'
import { BENCODE, WORDS } from './grammars.ts'
import { assertReadAlike, bytesOf } from './promises.ts'

const swarmKey = Buffer.alloc(32, 7) as SwarmKey
const NOW_MS = 1_800_000_000_000
const FROM = '192.0.2.1'

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

/**
 * Sealed datagrams of a closed swarm: as an outsider may change them, and, behind a mark, what a member that went mad
 * may put inside.
 */
export function sealedTarget(): FuzzTarget {
  const label = 'dd1/fuzz\0'
  const key = createSecretKey(deriveKey(swarmKey, label))
  let reads = 0
  const options = { swarmKeys: new SwarmKeys(swarmKey), label, now: () => NOW_MS }
  const outside = new DatagramSeal(options)
  const bodies = ['', 'x', 'x'.repeat(100), 'x'.repeat(300)].map(bytesOf)
  const sealed = bodies.map((body) => outside.seal(body).toString('latin1'))
  const port = formatSealedLanMessage({ port: 6881, addresses: [FROM] }, outside).toString('latin1')
  const taken = new Set<string>()
  let inside = new DatagramSeal(options)
  return {
    name: 'sealed datagram',
    grammar: WORDS,
    seeds: [...sealed, port, ...bodies.map((body) => CONTENT_MARK + contentOf(body)), CONTENT_MARK],
    codes: [],
    read(input) {
      reads += 1
      // Else none of an outsider would be taken after the first few.
      if (reads % 20_000 === 0) {
        inside = new DatagramSeal(options)
        taken.clear()
      }
      const isOfMember = input.startsWith(CONTENT_MARK)
      const datagram = isOfMember ? sealAsIs(input, { key, reads }) : bytesOf(input)
      const body = reads % 2 === 0 ? inside.open(datagram) : undefined
      const said =
        reads % 2 === 0 ? undefined : parseSealedLanMessage(datagram, { seal: inside, from: FROM })
      if (body === undefined && said === undefined) return undefined
      if (said !== undefined) assert.ok(Number.isInteger(said) && said > 0 && said < 65_536)
      if (body !== undefined) assert.ok(body.length <= MAX_SEALED_BODY_BYTES)
      if (isOfMember) return `of a member ${Math.ceil((body?.length ?? 0) / 192)}`
      const text = datagram.toString('latin1')
      assert.ok([...sealed, port].includes(text), 'a datagram that nobody made')
      assert.ok(!taken.has(text), 'a datagram was taken twice')
      taken.add(text)
      return 'of a member'
    },
  }
}

const CONTENT_MARK = '\0'
const STEP_BYTES = 192

function contentOf(body: Uint8Array): string {
  const head = Buffer.alloc(6)
  head.writeUInt32BE(NOW_MS / 1000)
  head.writeUInt16BE(body.length, 4)
  return head.toString('latin1') + Buffer.from(body).toString('latin1')
}

/** With the right key, whatever it says; filled up to a step. */
function sealAsIs(input: string, { key, reads }: { key: KeyObject; reads: number }): Buffer {
  const content = bytesOf(input.slice(CONTENT_MARK.length, 6 * STEP_BYTES + 1))
  const steps = Math.max(1, Math.ceil(content.length / STEP_BYTES))
  const padded = Buffer.concat([content, Buffer.alloc(steps * STEP_BYTES - content.length)])
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32BE(reads)
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
  return Buffer.concat([nonce, cipher.update(padded), cipher.final(), cipher.getAuthTag()])
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
