import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'

import { isOperationError } from '../../errors.ts'
import {
  decodeBlobRecord,
  encodeBlobRecord,
  type BlobRecord,
} from '../../membership/blob-record.ts'
import {
  formatInvite,
  formatTicket,
  isTicketAddress,
  parseInvite,
  type JoinTicket,
} from '../../membership/invite.ts'
import { makeNodeIdentity, type NodeIdentity } from '../../membership/node-identity.ts'
import {
  parseReferenceRecord,
  signReferenceRecord,
  type SignedReferenceRecord,
} from '../../membership/reference-record.ts'
import { proveRequest, RequestVerifier } from '../../membership/request-proof.ts'
import { swarmIdOf, type SwarmKey } from '../../membership/swarm-key.ts'
import { SwarmKeys } from '../../membership/swarm-keys.ts'
import { keyStateAt, newKeyLine, withOrders } from '../../membership/key-line.ts'
import {
  formatKeyOrders,
  MAX_KEY_ORDERS,
  MAX_REVOKED,
  parseKeyOrders,
  signKeyOrder,
} from '../../membership/key-order.ts'
import { digestOf, isDigest } from '../../oci/digest.ts'
import { isManifestType, MEDIA_TYPES } from '../../oci/media-types.ts'
import type { FuzzTarget } from './fuzz.ts'
import { BENCODE, JSON_TEXT, WORDS } from './grammars.ts'
import { bytesOf, countIsSound, jsonOf, textIsPlain } from './promises.ts'

const swarmKey = Buffer.alloc(32, 7) as SwarmKey
const NOW_MS = 1_800_000_000_000
// Signatures take twenty times as long as the rest.
const CHECK_EVERY = 32
const SIGN_EVERY = 512
const MAX_UINT32 = 2 ** 32 - 1

/** Records that tie a digest to a torrent. */
export function blobRecordTarget(): FuzzTarget {
  const records: BlobRecord[] = [0, 1, 262_144, 2 ** 32, 2 ** 40].map((size) => ({
    digest: digestOf(String(size)),
    size,
    pieceLength: 262_144,
    infoHash: 'ab'.repeat(20),
  }))
  return {
    name: 'blob record',
    grammar: BENCODE,
    seeds: records.map((record) => encodeBlobRecord(record, swarmKey).toString('latin1')),
    codes: ['RECORD_INVALID'],
    read(input) {
      const record = decodeBlobRecord(bytesOf(input), [swarmKey])
      assert.ok(isDigest(record.digest) && countIsSound(record.size))
      assert.ok(countIsSound(record.pieceLength) && record.pieceLength > 0)
      assert.ok(record.pieceLength <= MAX_UINT32)
      assert.match(record.infoHash, /^[0-9a-f]{40}$/)
      assert.deepEqual(decodeBlobRecord(encodeBlobRecord(record, swarmKey), [swarmKey]), record)
      assert.ok(
        records.some((made) => isDeepStrictEqual(made, record)),
        'a record that nobody made',
      )
      return `size ${record.size}`
    },
  }
}

/** What nodes say that names mean. */
export function referenceRecordTarget(): FuzzTarget {
  const identity = makeNodeIdentity()
  const sign = (name: string, nodeName: string) =>
    signReferenceRecord(
      {
        name,
        digest: digestOf(name),
        mediaType: MEDIA_TYPES.ociManifest,
        size: 528,
        sequence: NOW_MS - 1000,
        nodeName,
      },
      { identity, swarmKey, nowMs: NOW_MS },
    )
  const seeds = [
    sign('docker.io/library/app:1', 'alpha'),
    sign('ghcr.io/a/b_c/d-e:v1.2_3', ''),
    sign('localhost:5000/x:latest', 'Büro'),
    sign(`docker.io/library/app@${digestOf('x')}`, 'x'.repeat(253)),
  ]
  const proofsOf = ({ signature, mac }: SignedReferenceRecord) => `${signature} ${mac}`
  const made = new Set(seeds.map(proofsOf))
  let refused = 0
  let taken = 0
  const parse = (value: unknown): SignedReferenceRecord =>
    parseReferenceRecord(value, { swarmKeys: [swarmKey], nowMs: NOW_MS })
  return {
    name: 'reference record',
    grammar: JSON_TEXT,
    seeds: seeds.map((record) => JSON.stringify(record)),
    codes: ['RECORD_INVALID'],
    read(input) {
      const value = jsonOf(input)
      if (value === undefined) return undefined
      try {
        return check(parse(value))
      } catch (error) {
        refused += 1
        const isOfAMember = isOperationError(error) && /MAC/.test(error.message)
        // A member may sign what it likes: fields that passed are signed anew, now and then, for that takes long.
        if (!isOfAMember || refused % SIGN_EVERY !== 0) throw error
        const fields = value as SignedReferenceRecord
        const signed = signReferenceRecord(fields, { identity, swarmKey, nowMs: NOW_MS })
        made.add(proofsOf(signed))
        return check(parse(signed))
      }
    },
  }

  function check(record: SignedReferenceRecord): string {
    assert.ok(record.name.length <= 512 && textIsPlain(record.name))
    assert.ok(record.nodeName.length <= 253 && textIsPlain(record.nodeName))
    assert.ok(isDigest(record.digest) && isManifestType(record.mediaType))
    assert.ok(countIsSound(record.size) && countIsSound(record.sequence))
    assert.ok(record.sequence <= NOW_MS + 86_400e3)
    assert.match(record.nodeId, /^[0-9a-f]{64}$/)
    assert.equal(Object.getPrototypeOf(record), Object.prototype)
    assert.ok(made.has(proofsOf(record)), 'a record that nobody made')
    taken += 1
    if (taken % CHECK_EVERY !== 0) return 'a record'
    const text = JSON.stringify(record)
    assert.equal(JSON.stringify(parse(JSON.parse(text))), text)
    return 'a record'
  }
}

/** The line that lets its reader join; also what a line says whose checksum is right. */
export function inviteTarget(): FuzzTarget {
  const keys = [1, 2].map((fill) => Buffer.alloc(32, fill) as SwarmKey)
  const tickets: JoinTicket[] = [
    ['10.0.0.7:6881'],
    ['[fd00::7]:1', 'node-1.example.org:65535'],
  ].map((addresses) => ({
    id: '0123456789abcdef',
    secret: Buffer.alloc(16, 9),
    expiresAtMs: NOW_MS,
    addresses,
  }))
  const lines = [...keys.map(formatInvite), ...tickets.map(formatTicket)]
  return {
    name: 'invite',
    grammar: WORDS,
    seeds: [...lines, ` ${lines[0]}\n`, ...lines.map(contentOf)],
    codes: ['INVITE_INVALID'],
    read(input) {
      const invite = parseInvite(input.startsWith(CONTENT_MARK) ? lineOf(input) : input)
      if (invite.kind === 'key') {
        assert.equal(invite.key.length, 32)
        return 'a key'
      }
      const { ticket } = invite
      assert.match(ticket.id, /^[0-9a-f]{16}$/)
      assert.ok(ticket.secret.length === 16 && countIsSound(ticket.expiresAtMs))
      assert.ok(ticket.addresses.length > 0 && ticket.addresses.length <= 8)
      assert.ok(ticket.addresses.every(isTicketAddress))
      assert.deepEqual(parseInvite(formatTicket(ticket)), invite)
      return `a ticket ${ticket.addresses.length}`
    },
  }
}

const CONTENT_MARK = '\0'
const CHECKSUM_BYTES = 4

/** What stands in a line, behind a mark: its prefix and its bytes without the checksum. */
function contentOf(line: string): string {
  const prefix = line.slice(0, line.indexOf('-') + 1)
  const bytes = Buffer.from(line.slice(prefix.length), 'base64url').subarray(0, -CHECKSUM_BYTES)
  return CONTENT_MARK + prefix + bytes.toString('latin1')
}

/** The line with that content, and the right checksum. */
function lineOf(content: string): string {
  const behind = content.indexOf('-') + 1
  const bytes = bytesOf(content.slice(behind))
  const hash = createHash('sha256').update('dd1/invite\0').update(bytes).digest()
  const checked = Buffer.concat([bytes, hash.subarray(0, CHECKSUM_BYTES)])
  return content.slice(CONTENT_MARK.length, behind) + checked.toString('base64url')
}

/** Orders of new swarm keys, and what becomes of a line of keys that takes them. */
export function keyOrdersTarget(): FuzzTarget {
  const [ann, bob] = [makeNodeIdentity(), makeNodeIdentity()]
  const base = Buffer.alloc(32, 1) as SwarmKey
  const orderOf = (identity: NodeIdentity, index: number, revoked: readonly string[] = []) =>
    signKeyOrder(
      {
        generation: NOW_MS - 1000 + index,
        from: swarmIdOf(base),
        key: Buffer.alloc(32, 10 + index) as SwarmKey,
        revoked,
        overlapMs: index * 1000,
      },
      identity,
    )
  const orders = [
    orderOf(ann, 1),
    orderOf(bob, 1),
    orderOf(bob, 2, [ann.nodeId]),
    orderOf(ann, 3, [bob.nodeId, 'c'.repeat(64)]),
  ]
  const made = new Set(orders.map(({ signature }) => signature))
  let taken = 0
  return {
    name: 'orders of keys',
    grammar: JSON_TEXT,
    seeds: [
      ...orders.map((order) => JSON.stringify(formatKeyOrders([order]))),
      JSON.stringify(formatKeyOrders(orders)),
      '{"orders":[]}',
    ],
    codes: ['RECORD_INVALID'],
    read(input) {
      const value = jsonOf(input)
      if (value === undefined) return undefined
      const heard = parseKeyOrders(value, NOW_MS)
      assert.ok(heard.length <= MAX_KEY_ORDERS)
      for (const order of heard) {
        assert.ok(made.has(order.signature), 'an order that nobody gave')
        assert.ok(order.key.length === 32 && countIsSound(order.generation))
        assert.ok(order.revoked.length <= MAX_REVOKED)
      }
      taken += 1
      if (taken % CHECK_EVERY !== 0) return `${heard.length} orders`
      const line = withOrders(newKeyLine(base), heard, { ownId: 'd'.repeat(64), nowMs: NOW_MS })
      const { accepted, former } = keyStateAt(line, { nowMs: NOW_MS, settleMs: 1000 })
      assert.ok(accepted.length > 0 && accepted.length + former.length <= 2 * MAX_KEY_ORDERS)
      return `${line.orders.length} taken`
    },
  }
}

/** The header with which a member proves that it asks. */
export function requestProofTarget(): FuzzTarget {
  const request = { method: 'POST', path: '/dd/1/have', body: Buffer.from('{"digests":[]}') }
  const proofs = Array.from({ length: 16 }, () => proveRequest(request, swarmKey, NOW_MS))
  const others = [
    proveRequest(request, swarmKey, NOW_MS - 120_000),
    proveRequest({ ...request, path: '/dd/1/warm' }, swarmKey, NOW_MS),
    'Basic eDp5',
    '',
  ]
  let verifier = new RequestVerifier(new SwarmKeys(swarmKey))
  const seen = new Set<string>()
  let reads = 0
  return {
    name: 'request proof',
    grammar: WORDS,
    seeds: [...proofs, ...others],
    codes: ['REQUEST_UNPROVEN'],
    read(input) {
      reads += 1
      // Else none would be taken after the first few.
      if (reads % 10_000 === 0) {
        verifier = new RequestVerifier(new SwarmKeys(swarmKey))
        seen.clear()
      }
      verifier.verify(request, input, NOW_MS)
      assert.ok(proofs.includes(input), 'a proof that nobody made')
      assert.ok(!seen.has(input), 'a proof was taken twice')
      seen.add(input)
      return 'a proof'
    },
  }
}
