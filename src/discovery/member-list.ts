/**
 * What the meeting item says: which members are there, and where.
 *
 *   format 1 ‖ members 1 ‖ member… ‖ zeros
 *   member   tag 8 ‖ seconds 4 ‖ addresses 1 ‖ address…
 *   address  4 or 6 ‖ IPv4 4 or IPv6 16 ‖ port 2
 *
 * Always LIST_BYTES long. Members have written it, but perhaps mad ones: it is parsed as what strangers send.
 */
import ipaddr from 'ipaddr.js'

import type { PeerAddress } from './discovery.ts'

/** A member and where it takes connections, the address that reaches it from furthest away first. */
export interface ListedMember {
  /** 16 hex digits that tell members apart */
  readonly tag: string
  /** when it said so, a whole second */
  readonly seenAtMs: number
  readonly addresses: readonly PeerAddress[]
}

/** Of a list, filled up. With what the seal adds, a value is 900 bytes: `put` fits every path in one packet. */
export const LIST_BYTES = 872
export const MAX_ADDRESSES_PER_MEMBER = 5
export const TAG_BYTES = 8

const FORMAT = 1
const HEAD_BYTES = 2
const MEMBER_BYTES = TAG_BYTES + 4 + 1
const MAX_MEMBERS = 64
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 4: 4, 6: 16 }
const PORT_BYTES = 2
// `reserved` is left out: networks of documents and of tests.
const DIALLED_RANGES = ['unicast', 'private', 'carrierGradeNat', 'uniqueLocal']

/** Whether another host may be found there. What is on loopback is there only for who listens there. */
export function isDiallable({ host, port }: PeerAddress, { onLoopback = false } = {}): boolean {
  if (!Number.isInteger(port) || port < 1 || port > 65_535 || !ipaddr.isValid(host)) return false
  const range = ipaddr.parse(host).range()
  return DIALLED_RANGES.includes(range) || (onLoopback && range === 'loopback')
}

/** The members that fit, in their order. */
export function formatMemberList(members: readonly ListedMember[]): Buffer {
  const bytes = Buffer.alloc(LIST_BYTES)
  let [at, count] = [HEAD_BYTES, 0]
  for (const member of members.slice(0, MAX_MEMBERS)) {
    const formatted = formatMember(member)
    if (at + formatted.length > LIST_BYTES) break
    bytes.set(formatted, at)
    at += formatted.length
    count += 1
  }
  bytes[0] = FORMAT
  bytes[1] = count
  return bytes
}

/** How many of `members` fit, from the first. */
export function fittingCount(members: readonly ListedMember[]): number {
  return formatMemberList(members)[1] ?? 0
}

/** Never throws. @returns undefined for what is no list; addresses where nobody can be are left out */
export function parseMemberList(
  bytes: Buffer,
  options: { onLoopback?: boolean } = {},
): ListedMember[] | undefined {
  const [format, count = 0] = bytes
  if (bytes.length !== LIST_BYTES || format !== FORMAT || count > MAX_MEMBERS) return undefined
  const members: ListedMember[] = []
  let at = HEAD_BYTES
  for (let index = 0; index < count; index += 1) {
    const found = parseMember(bytes, at)
    if (!found) return undefined
    const addresses = found.member.addresses.filter((address) => isDiallable(address, options))
    if (addresses.length > 0) members.push({ ...found.member, addresses })
    at = found.end
  }
  return bytes.subarray(at).every((byte) => byte === 0) ? members : undefined
}

function formatMember({ tag, seenAtMs, addresses }: ListedMember): Buffer {
  const head = Buffer.alloc(MEMBER_BYTES)
  const formatted = addresses.slice(0, MAX_ADDRESSES_PER_MEMBER).map(formatAddress)
  head.write(tag, 'hex')
  head.writeUInt32BE(Math.floor(seenAtMs / 1000), TAG_BYTES)
  head[MEMBER_BYTES - 1] = formatted.length
  return Buffer.concat([head, ...formatted])
}

function formatAddress({ host, port }: PeerAddress): Buffer {
  const ip = ipaddr.parse(host).toByteArray()
  return Buffer.from([ip.length === 4 ? 4 : 6, ...ip, port >> 8, port & 0xff])
}

function parseMember(bytes: Buffer, at: number): { member: ListedMember; end: number } | undefined {
  let end = at + MEMBER_BYTES
  const addressCount = bytes[end - 1] ?? 0
  if (addressCount < 1 || addressCount > MAX_ADDRESSES_PER_MEMBER) return undefined
  const addresses: PeerAddress[] = []
  for (let index = 0; index < addressCount; index += 1) {
    const hostBytes = ADDRESS_BYTES[bytes[end] ?? 0]
    if (hostBytes === undefined || end + 1 + hostBytes + PORT_BYTES > bytes.length) return undefined
    addresses.push(addressAt(bytes, end + 1, hostBytes))
    end += 1 + hostBytes + PORT_BYTES
  }
  const tag = bytes.toString('hex', at, at + TAG_BYTES)
  const seenAtMs = bytes.readUInt32BE(at + TAG_BYTES) * 1000
  return { member: { tag, seenAtMs, addresses }, end }
}

function addressAt(bytes: Buffer, at: number, hostBytes: number): PeerAddress {
  const ip = ipaddr.fromByteArray([...bytes.subarray(at, at + hostBytes)])
  return { host: ip.toString(), port: bytes.readUInt16BE(at + hostBytes) }
}
