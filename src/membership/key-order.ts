import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { isSignedBy, type NodeIdentity } from './node-identity.ts'
import { deriveKey, type SwarmKey } from './swarm-key.ts'

/**
 * One member's word that the swarm has another key from now on. Members hand it to each other over connections on which
 * both have proven a key of the swarm and who they are; nobody else sees it, for the key is in it.
 */
export interface KeyOrder {
  /** when it was given, by the clock of its issuer in ms; more than that of all orders that he knew */
  readonly generation: number
  /** the swarm id of the key before */
  readonly from: string
  readonly key: SwarmKey
  /** node ids of all who were shut out, by this order or before; the last ones last */
  readonly revoked: readonly string[]
  /** how long after it was given the keys before are taken from everybody; 0 shuts somebody out */
  readonly overlapMs: number
  /** node id */
  readonly issuer: string
  /** Ed25519 of the issuer, hex */
  readonly signature: string
}

/** Orders that are kept and handed over at once; older ones are forgotten. */
export const MAX_KEY_ORDERS = 8
/** Node ids that can be shut out: who is forgotten then has no key that anybody takes. */
export const MAX_REVOKED = 256
export const MAX_OVERLAP_MS = 30 * 86_400_000
// As of names: the clocks of members that talk to each other differ by a minute at most.
const MAX_CLOCK_AHEAD_MS = 5 * 60e3

/** Gives an order. @param order.generation by `nextGeneration` */
export function signKeyOrder(
  order: Omit<KeyOrder, 'issuer' | 'signature'>,
  identity: NodeIdentity,
): KeyOrder {
  const given = { ...order, issuer: identity.nodeId }
  return { ...given, signature: identity.sign(messageOf(given)).toString('hex') }
}

/** The generation of an order that comes after one. */
export function nextGeneration(last: number, nowMs: number = Date.now()): number {
  return Math.max(nowMs, last + 1)
}

/** Where two orders are given at the same moment, every node takes the same: the one with the lower hash of its key. */
export function compareOrders(
  a: Pick<KeyOrder, 'generation' | 'key'>,
  b: Pick<KeyOrder, 'generation' | 'key'>,
): number {
  return a.generation - b.generation || Buffer.compare(hashOf(b.key), hashOf(a.key))
}

/** What is handed over. */
export function formatKeyOrders(orders: readonly KeyOrder[]): { orders: object[] } {
  return { orders: orders.map((order) => ({ ...order, key: order.key.toString('hex') })) }
}

/**
 * Reads what a member handed over: bounded, each signed by its issuer, none from the future.
 * @throws OperationError RECORD_INVALID
 */
export function parseKeyOrders(value: unknown, nowMs: number = Date.now()): KeyOrder[] {
  const orders = asRecord(value)?.['orders']
  if (!Array.isArray(orders) || orders.length > MAX_KEY_ORDERS)
    throw invalid(`wanted a list of at most ${MAX_KEY_ORDERS}`)
  return orders.map((order) => parseKeyOrder(order, nowMs))
}

/** @throws OperationError RECORD_INVALID */
export function parseKeyOrder(value: unknown, nowMs: number = Date.now()): KeyOrder {
  const order = parseFields(value)
  if (order.generation > nowMs + MAX_CLOCK_AHEAD_MS) throw invalid('it is from the future')
  const signature = Buffer.from(order.signature, 'hex')
  if (!isSignedBy(Buffer.from(order.issuer, 'hex'), messageOf(order), signature))
    throw invalid('its signature is not of its issuer')
  return order
}

function parseFields(value: unknown): KeyOrder {
  const fields = asRecord(value)
  if (!fields) throw invalid('wanted an object')
  const { generation, from, key, revoked, overlapMs, issuer, signature } = fields
  if (!isCount(generation)) throw invalid('generation is not a time')
  if (!isHex(from, 16)) throw invalid('from is not a swarm id')
  if (!isHex(key, 64)) throw invalid('key is not one')
  if (!isIdList(revoked)) throw invalid(`revoked is not a list of at most ${MAX_REVOKED} node ids`)
  if (!isCount(overlapMs) || overlapMs > MAX_OVERLAP_MS) throw invalid('overlapMs is not a time')
  if (!isHex(issuer, 64) || !isHex(signature, 128)) throw invalid('its issuer is not known')
  if (revoked.includes(issuer)) throw invalid('its issuer shuts himself out')
  const bytes = Buffer.from(key, 'hex') as SwarmKey
  return { generation, from, key: bytes, revoked, overlapMs, issuer, signature }
}

function messageOf(order: Omit<KeyOrder, 'signature'>): Buffer {
  const { generation, from, key, revoked, overlapMs, issuer } = order
  const what = [generation, from, key.toString('hex'), revoked, overlapMs, issuer]
  return Buffer.from(JSON.stringify(['dd1/key-order', ...what]))
}

function hashOf(key: SwarmKey): Buffer {
  return deriveKey(key, 'dd1/id\0')
}

function isIdList(value: unknown): value is string[] {
  if (!Array.isArray(value) || value.length > MAX_REVOKED) return false
  return value.every((id) => isHex(id, 64)) && new Set(value).size === value.length
}

function isHex(value: unknown, length: number): value is string {
  return typeof value === 'string' && value.length === length && /^[0-9a-f]*$/.test(value)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function invalid(found: string): OperationError {
  return new OperationError('RECORD_INVALID', `order of a new swarm key: ${found}`)
}
