import { createHmac, timingSafeEqual } from 'node:crypto'

import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { isManifestType } from '../oci/media-types.ts'
import { canonicalName, parseReference } from '../oci/reference.ts'
import { isSignedBy, type NodeIdentity } from './node-identity.ts'
import type { SwarmKey } from './swarm-key.ts'

/**
 * What a node says a name means. Only its signer can make a newer one; anybody may hand it on. The signer confirms it
 * from time to time: the same record with a later end. README.md says which attacks it withstands, and how.
 */
export interface ReferenceRecord {
  /** canonical name with its tag, such as `docker.io/library/app:1` */
  readonly name: string
  readonly digest: Digest
  readonly mediaType: string
  /** of the manifest, bytes */
  readonly size: number
  /** when the signer decided, by its clock in ms; grows whenever it says something else for this name */
  readonly sequence: number
  /** the signer says so until then, ms; later, nobody knows whether it still would */
  readonly expiresAtMs: number
  readonly nodeId: string
  readonly nodeName: string
}

/** A record with its proofs, as it is kept and handed on. */
export interface SignedReferenceRecord extends ReferenceRecord {
  /** Ed25519 of the node, hex */
  readonly signature: string
  /** HMAC-SHA256 under the swarm key, hex */
  readonly mac: string
}

/** How long a record is good without being confirmed. */
export const REFERENCE_LIFETIME_MS = 24 * 3600e3

// A record from the future would lock its name until then (TUF, fast-forward attack). The clocks of members that talk
// to each other differ by a minute at most; others may stand between the signer and this node.
const MAX_CLOCK_AHEAD_MS = 5 * 60e3
const MAX_NAME_LENGTH = 512
const MAX_NODE_NAME_LENGTH = 253

/** Signs what this node says a name means, for {@link REFERENCE_LIFETIME_MS} from now. */
export function signReferenceRecord(
  record: Omit<ReferenceRecord, 'nodeId' | 'expiresAtMs'>,
  {
    identity,
    swarmKey,
    nowMs = Date.now(),
  }: { identity: NodeIdentity; swarmKey: SwarmKey; nowMs?: number },
): SignedReferenceRecord {
  const { name, digest, mediaType, size, sequence, nodeName } = record
  const { nodeId } = identity
  const expiresAtMs = nowMs + REFERENCE_LIFETIME_MS
  const signed = { name, digest, mediaType, size, sequence, expiresAtMs, nodeId, nodeName }
  const message = messageOf(signed)
  return {
    ...signed,
    signature: identity.sign(message).toString('hex'),
    mac: macOf(message, swarmKey).toString('hex'),
  }
}

/**
 * Reads a record from a stranger, proves that a member signed it and that it is not from the future.
 * @param options.swarmKeys those that count
 * @throws OperationError RECORD_INVALID
 */
export function parseReferenceRecord(
  value: unknown,
  { swarmKeys, nowMs = Date.now() }: { swarmKeys: readonly SwarmKey[]; nowMs?: number },
): SignedReferenceRecord {
  const record = parseFields(value)
  const message = messageOf(record)
  const mac = Buffer.from(record.mac, 'hex')
  if (!swarmKeys.some((key) => timingSafeEqual(mac, macOf(message, key)))) {
    throw invalid('its MAC is not of this swarm')
  }
  const signature = Buffer.from(record.signature, 'hex')
  if (!isSignedBy(Buffer.from(record.nodeId, 'hex'), message, signature)) {
    throw invalid('its signature is not of its node')
  }
  if (isFromFuture(record.sequence, nowMs)) throw invalid('it is from the future')
  if (isFromFuture(record.expiresAtMs - REFERENCE_LIFETIME_MS, nowMs)) {
    throw invalid('it is good for longer than a record may be')
  }
  return record
}

/** The same for who has this key: any member may say that it comes from a member, as long as its signature is sound. */
export function vouchFor(record: SignedReferenceRecord, swarmKey: SwarmKey): SignedReferenceRecord {
  return { ...record, mac: macOf(messageOf(record), swarmKey).toString('hex') }
}

/** Whether a sequence is further ahead of the clock than clocks differ: no member takes it. */
export function isFromFuture(sequence: number, nowMs: number = Date.now()): boolean {
  return sequence > nowMs + MAX_CLOCK_AHEAD_MS
}

/** Whether the signer should confirm a record: half of its life is over. */
export function isConfirmationDue(record: ReferenceRecord, nowMs: number = Date.now()): boolean {
  return record.expiresAtMs - nowMs < REFERENCE_LIFETIME_MS / 2
}

/** Whether a record takes the place of one of the same signer for the same name. */
export function supersedes(record: ReferenceRecord, before: ReferenceRecord): boolean {
  if (record.sequence !== before.sequence) return record.sequence > before.sequence
  return record.digest === before.digest && record.expiresAtMs > before.expiresAtMs
}

/**
 * The next sequence number of a signer: the clock, unless that would go back. One that was made by a clock far ahead
 * was taken by nobody and counts for nothing, or the signer would be locked out until then.
 */
export function nextSequence(last: number | undefined, nowMs: number = Date.now()): number {
  if (last === undefined || isFromFuture(last, nowMs)) return nowMs
  return Math.max(nowMs, last + 1)
}

function parseFields(value: unknown): SignedReferenceRecord {
  const fields = asRecord(value)
  if (!fields) throw invalid('wanted an object')
  const { name, digest, mediaType, size, sequence, expiresAtMs } = fields
  const { nodeId, nodeName, signature, mac } = fields
  if (typeof name !== 'string' || !isCanonical(name)) throw invalid('name is not a canonical name')
  if (!isDigest(digest)) throw invalid('digest is not one')
  if (typeof mediaType !== 'string' || !isManifestType(mediaType))
    throw invalid('mediaType is not of a manifest')
  if (!isCount(size) || size > MAX_MANIFEST_BYTES) throw invalid('size is not of a manifest')
  if (!isCount(sequence)) throw invalid('sequence is not a number')
  if (!isCount(expiresAtMs)) throw invalid('expiresAtMs is not a time')
  if (!isHex(nodeId, 64)) throw invalid('nodeId is not a key')
  if (typeof nodeName !== 'string' || !isShown(nodeName)) throw invalid('nodeName is not a name')
  if (!isHex(signature, 128) || !isHex(mac, 64)) throw invalid('a proof is missing')
  const record = { name, digest, mediaType, size, sequence, expiresAtMs, nodeId, nodeName }
  return { ...record, signature, mac }
}

function messageOf(record: ReferenceRecord): Buffer {
  const { name, digest, mediaType, size, sequence, expiresAtMs, nodeId, nodeName } = record
  const what = [name, digest, mediaType, size, sequence, expiresAtMs, nodeId, nodeName]
  return Buffer.from(JSON.stringify(['dd1/ref', ...what]))
}

function macOf(message: Buffer, key: SwarmKey): Buffer {
  return createHmac('sha256', key).update('dd1/refrec\0').update(message).digest()
}

function isCanonical(name: string): boolean {
  if (name.length > MAX_NAME_LENGTH) return false
  try {
    return canonicalName(parseReference(name)) === name
  } catch {
    return false
  }
}

/** Names are shown on terminals and kept as UTF-8: no control characters, no halves of characters. */
function isShown(nodeName: string): boolean {
  return nodeName.length <= MAX_NODE_NAME_LENGTH && !/[\p{Cc}\p{Cs}]/u.test(nodeName)
}

function isHex(value: unknown, length: number): value is string {
  return typeof value === 'string' && value.length === length && /^[0-9a-f]*$/.test(value)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function invalid(found: string): OperationError {
  return new OperationError('RECORD_INVALID', `reference record: ${found}`)
}
