import { createHmac, timingSafeEqual } from 'node:crypto'

import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { isManifestType } from '../oci/media-types.ts'
import { canonicalName, parseReference } from '../oci/reference.ts'
import { isSignedBy, type NodeIdentity } from './node-identity.ts'
import type { SwarmKey } from './swarm-key.ts'

/** What a node says a name means. Only its signer can make a newer one; anybody may hand it on. */
export interface ReferenceRecord {
  /** canonical name with its tag, such as `docker.io/library/app:1` */
  readonly name: string
  readonly digest: Digest
  readonly mediaType: string
  /** of the manifest, bytes */
  readonly size: number
  /** grows with every record of this signer for this name; at least the clock in ms */
  readonly sequence: number
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

// A record from further in the future would lock the name for ever (TUF, fast-forward attack).
const MAX_CLOCK_AHEAD_MS = 24 * 3600e3
const MAX_NODE_NAME_LENGTH = 253

/** Signs what this node says a name means. */
export function signReferenceRecord(
  record: Omit<ReferenceRecord, 'nodeId'>,
  { identity, swarmKey }: { identity: NodeIdentity; swarmKey: SwarmKey },
): SignedReferenceRecord {
  const signed = { ...record, nodeId: identity.nodeId }
  const message = messageOf(signed)
  return {
    ...signed,
    signature: identity.sign(message).toString('hex'),
    mac: macOf(message, swarmKey).toString('hex'),
  }
}

/**
 * Reads a record from a stranger, proves that a member signed it and that it is not from the future.
 * @throws OperationError RECORD_INVALID
 */
export function parseReferenceRecord(
  value: unknown,
  { swarmKey, nowMs = Date.now() }: { swarmKey: SwarmKey; nowMs?: number },
): SignedReferenceRecord {
  const record = parseFields(value)
  const message = messageOf(record)
  const mac = Buffer.from(record.mac, 'hex')
  if (mac.length !== 32 || !timingSafeEqual(mac, macOf(message, swarmKey))) {
    throw invalid('its MAC is not of this swarm')
  }
  const signature = Buffer.from(record.signature, 'hex')
  if (!isSignedBy(Buffer.from(record.nodeId, 'hex'), message, signature)) {
    throw invalid('its signature is not of its node')
  }
  if (record.sequence > nowMs + MAX_CLOCK_AHEAD_MS) throw invalid('it is from the future')
  return record
}

/** The next sequence number of a signer: the clock, unless that would go back. */
export function nextSequence(last: number | undefined, nowMs: number = Date.now()): number {
  return Math.max(nowMs, (last ?? 0) + 1)
}

function parseFields(value: unknown): SignedReferenceRecord {
  const fields = asRecord(value)
  if (!fields) throw invalid('wanted an object')
  const { name, digest, mediaType, size, sequence, nodeId, nodeName, signature, mac } = fields
  if (typeof name !== 'string' || !isCanonical(name)) throw invalid('name is not a canonical name')
  if (!isDigest(digest)) throw invalid('digest is not one')
  if (typeof mediaType !== 'string' || !isManifestType(mediaType))
    throw invalid('mediaType is not of a manifest')
  if (!isCount(size)) throw invalid('size is not a number of bytes')
  if (!isCount(sequence)) throw invalid('sequence is not a number')
  if (!isHex(nodeId, 64)) throw invalid('nodeId is not a key')
  if (typeof nodeName !== 'string' || nodeName.length > MAX_NODE_NAME_LENGTH)
    throw invalid('nodeName is not a name')
  if (!isHex(signature, 128) || !isHex(mac, 64)) throw invalid('a proof is missing')
  return { name, digest, mediaType, size, sequence, nodeId, nodeName, signature, mac }
}

function messageOf(record: ReferenceRecord): Buffer {
  const { name, digest, mediaType, size, sequence, nodeId, nodeName } = record
  return Buffer.from(
    JSON.stringify(['dd1/ref', name, digest, mediaType, size, sequence, nodeId, nodeName]),
  )
}

function macOf(message: Buffer, key: SwarmKey): Buffer {
  return createHmac('sha256', key).update('dd1/refrec\0').update(message).digest()
}

function isCanonical(name: string): boolean {
  try {
    return canonicalName(parseReference(name)) === name
  } catch {
    return false
  }
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
