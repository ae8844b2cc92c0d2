import { createHash } from 'node:crypto'

import { OperationError } from '../errors.ts'
import type { SwarmKey } from './swarm-key.ts'

/** Lets one node, or several, ask a member for the swarm key until it expires. */
export interface JoinTicket {
  /** names it; 16 hex digits */
  readonly id: string
  /** 16 random bytes, known to the member and to whoever has the ticket */
  readonly secret: Buffer
  readonly expiresAtMs: number
  /** where the member takes connections, `host:port` each */
  readonly addresses: readonly string[]
}

/** What an invite carries: the key itself, for ever, or a ticket. */
export type Invite =
  | { readonly kind: 'key'; readonly key: SwarmKey }
  | { readonly kind: 'ticket'; readonly ticket: JoinTicket }

const KEY_PREFIX = 'dd1-'
const TICKET_PREFIX = 'dd1t-'
const CHECKSUM_BYTES = 4
const KEY_BYTES = 32
const ID_BYTES = 8
const SECRET_BYTES = 16
const EXPIRY_BYTES = 4
const MAX_ADDRESSES = 8
const MAX_LINE_LENGTH = 4096
const ADDRESS = /^(?:\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9.-]{1,253}):[0-9]{1,5}$/

/** One line that lets its reader join: the key and a checksum. Whoever reads it is a member, for ever. */
export function formatInvite(key: SwarmKey): string {
  return KEY_PREFIX + withChecksum(key)
}

/** One line with a ticket: its id, its secret, the second in which it expires, where to go, and a checksum. */
export function formatTicket({ id, secret, expiresAtMs, addresses }: JoinTicket): string {
  const expiry = Buffer.alloc(EXPIRY_BYTES)
  expiry.writeUInt32BE(Math.floor(expiresAtMs / 1000))
  const content = [Buffer.from(id, 'hex'), secret, expiry, Buffer.from(addresses.join(','))]
  return TICKET_PREFIX + withChecksum(Buffer.concat(content))
}

/** Whether a ticket can carry it: `host:port`, `[::1]:port`. */
export function isTicketAddress(text: string): boolean {
  const port = Number(text.slice(text.lastIndexOf(':') + 1))
  return ADDRESS.test(text) && port > 0 && port < 65_536
}

/** @throws OperationError INVITE_INVALID */
export function parseInvite(line: string): Invite {
  const text = line.trim()
  if (text.length > MAX_LINE_LENGTH) throw invalid(text)
  if (text.startsWith(TICKET_PREFIX)) {
    const content = checked(text, TICKET_PREFIX)
    return { kind: 'ticket', ticket: parseTicket(content) ?? refuse(text) }
  }
  const key = checked(text, KEY_PREFIX)
  if (key.length !== KEY_BYTES) throw invalid(text)
  return { kind: 'key', key: key as SwarmKey }
}

function parseTicket(content: Buffer): JoinTicket | undefined {
  const fixed = ID_BYTES + SECRET_BYTES + EXPIRY_BYTES
  if (content.length <= fixed) return undefined
  const addresses = content.subarray(fixed).toString('latin1').split(',')
  if (addresses.length > MAX_ADDRESSES || !addresses.every(isTicketAddress)) return undefined
  return {
    id: content.toString('hex', 0, ID_BYTES),
    secret: Buffer.from(content.subarray(ID_BYTES, ID_BYTES + SECRET_BYTES)),
    expiresAtMs: content.readUInt32BE(ID_BYTES + SECRET_BYTES) * 1000,
    addresses,
  }
}

function withChecksum(content: Uint8Array): string {
  return Buffer.concat([content, checksum(content)]).toString('base64url')
}

function checked(text: string, prefix: string): Buffer {
  const bytes = Buffer.from(text.slice(prefix.length), 'base64url')
  const content = Buffer.from(bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM_BYTES)))
  const isWhole = text === prefix + withChecksum(content)
  if (!isWhole) throw invalid(text)
  return content
}

function checksum(content: Uint8Array): Buffer {
  const hash = createHash('sha256').update('dd1/invite\0').update(content)
  return hash.digest().subarray(0, CHECKSUM_BYTES)
}

function refuse(text: string): never {
  throw invalid(text)
}

function invalid(text: string): OperationError {
  return new OperationError(
    'INVITE_INVALID',
    `wanted a whole line that begins with ${KEY_PREFIX} or ${TICKET_PREFIX}, found ${text.length} characters`,
  )
}
