import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'

/**
 * What members say to each other over HTTP on the peer port, beside BitTorrent. All requests are POSTs that
 * carry a proof (membership/request-proof.ts); bodies are JSON unless the route says otherwise.
 *
 *   /dd/1/hello       who are you                       NodeHello → NodeHello
 *   /dd/1/have        which of these do you have        { digests } → { blobs }
 *   /dd/1/references  what do these names mean          { names } → { records }
 *   /dd/1/metainfo    the torrent of this digest        { digest } → bencode { r: record, i: info dictionary }
 *   /dd/1/blob        a small blob in one answer        { digest } → its bytes
 *   /dd/1/warm        pull these images                 WarmOrder → one WarmReport a line
 *   /dd/1/keys        orders of new swarm keys          { orders, mark } → { orders, mark }; also to who has an old key only
 *   /dd/1/join        let me in                         {} → { swarmKey }, to guests with a ticket and nobody else
 */
export const PEER_ROUTES = {
  hello: '/dd/1/hello',
  have: '/dd/1/have',
  references: '/dd/1/references',
  metainfo: '/dd/1/metainfo',
  blob: '/dd/1/blob',
  warm: '/dd/1/warm',
  keys: '/dd/1/keys',
  join: '/dd/1/join',
} as const

/** The answer to who has proven an old key: ask for the new one, then again. */
export const STATUS_OUTDATED = 409

export const MAX_DIGESTS_PER_QUESTION = 256
export const MAX_NAMES_PER_QUESTION = 64
/** Larger blobs move as torrents; a manifest, at most 4 MiB, always moves whole. */
export const MAX_WHOLE_BLOB_BYTES = 4 * 1024 * 1024

// What is said is shown on terminals and kept as UTF-8: no control characters, no halves of characters.
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/gu

/** How a node introduces itself. */
export interface NodeHello {
  readonly nodeId: string
  readonly nodeName: string
  readonly version: string
  /** where it takes connections, at the address it is seen from */
  readonly peerPort: number
  /** whole blobs in its store, and their bytes; once they are counted */
  readonly holds?: { readonly blobs: number; readonly bytes: number }
  /** a name for what it knows of the keys of its swarm, 16 hex digits */
  readonly keys?: string
}

/** A blob that a node has, or has begun to have. */
export interface HeldBlob {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  readonly state: 'complete' | 'partial'
  /** a registry gave it for a credential only: who takes it over gives it out by the same rule */
  readonly isPrivate?: boolean
}

/** Asks one node, and no other, to bring images to its host. */
export interface WarmOrder {
  /** who is meant: an order that was caught is worth nothing to another node */
  readonly nodeId: string
  readonly references: readonly string[]
  /** into its engine as well */
  readonly load: boolean
  readonly parallel: number
}

/** How far a warm-up on one node is. */
export interface WarmReport {
  readonly state: 'moving' | 'loading' | 'done' | 'failed'
  /** bytes wanted in all, as far as is known */
  readonly size: number
  /** bytes that are there */
  readonly done: number
  readonly bytes: { readonly store: number; readonly peers: number; readonly upstream: number }
  readonly loaded: boolean
  readonly message?: string
}

/** @throws OperationError MESSAGE_INVALID */
export function parseHello(value: unknown): NodeHello {
  const { nodeId, nodeName, version, peerPort, holds, keys } = fieldsOf(value, 'hello')
  if (!isNodeId(nodeId)) throw invalid('hello: nodeId')
  if (
    typeof peerPort !== 'number' ||
    !Number.isInteger(peerPort) ||
    peerPort < 1 ||
    peerPort > 65_535
  ) {
    throw invalid('hello: peerPort')
  }
  return {
    nodeId,
    nodeName: parseText(nodeName, 'hello: nodeName', 253),
    version: parseText(version, 'hello: version', 64),
    peerPort,
    ...(holds !== undefined && { holds: parseHolds(holds) }),
    ...(keys !== undefined && { keys: parseKeyMark(keys) }),
  }
}

/** @throws OperationError MESSAGE_INVALID */
export function parseKeyMark(value: unknown): string {
  if (typeof value !== 'string' || !/^[0-9a-f]{16}$/.test(value)) throw invalid('a mark of keys')
  return value
}

function parseHolds(value: unknown): { blobs: number; bytes: number } {
  const { blobs, bytes } = fieldsOf(value, 'hello: holds')
  if (!isCount(blobs) || !isCount(bytes)) throw invalid('hello: holds')
  return { blobs, bytes }
}

/** @throws OperationError MESSAGE_INVALID */
export function parseDigests(value: unknown): Digest[] {
  const { digests } = fieldsOf(value, 'question')
  if (
    !Array.isArray(digests) ||
    digests.length > MAX_DIGESTS_PER_QUESTION ||
    !digests.every(isDigest)
  ) {
    throw invalid(`question: digests, at most ${MAX_DIGESTS_PER_QUESTION}`)
  }
  return digests
}

/** @throws OperationError MESSAGE_INVALID */
export function parseDigestQuestion(value: unknown): Digest {
  const { digest } = fieldsOf(value, 'question')
  if (!isDigest(digest)) throw invalid('question: digest')
  return digest
}

/** @throws OperationError MESSAGE_INVALID */
export function parseNames(value: unknown): string[] {
  return parseTexts(fieldsOf(value, 'question')['names'], 'question: names')
}

/** @throws OperationError MESSAGE_INVALID */
export function parseHeldBlobs(value: unknown): HeldBlob[] {
  const { blobs } = fieldsOf(value, 'answer')
  if (!Array.isArray(blobs) || blobs.length > MAX_DIGESTS_PER_QUESTION)
    throw invalid('answer: blobs')
  return blobs.map((entry) => {
    const { digest, size, state, isPrivate } = fieldsOf(entry, 'answer: blob')
    if (!isDigest(digest) || !isCount(size)) throw invalid('answer: blob')
    return {
      digest,
      size,
      state: state === 'complete' ? 'complete' : 'partial',
      ...(isPrivate === true && { isPrivate }),
    }
  })
}

/** The list as it came; each record has yet to be proven. @throws OperationError MESSAGE_INVALID */
export function parseRecordList(value: unknown): unknown[] {
  const { records } = fieldsOf(value, 'answer')
  if (!Array.isArray(records) || records.length > 1024) throw invalid('answer: records')
  return records
}

/** @throws OperationError MESSAGE_INVALID */
export function parseWarmOrder(value: unknown): WarmOrder {
  const { nodeId, references, load, parallel } = fieldsOf(value, 'order')
  if (!isNodeId(nodeId)) throw invalid('order: nodeId')
  if (!isCount(parallel) || parallel < 1 || parallel > 64) throw invalid('order: parallel, 1 to 64')
  return {
    nodeId,
    references: parseTexts(references, 'order: references'),
    load: load === true,
    parallel,
  }
}

/** @throws OperationError MESSAGE_INVALID */
export function parseWarmReport(value: unknown): WarmReport {
  const { state, size, done, bytes, loaded, message } = fieldsOf(value, 'report')
  if (state !== 'moving' && state !== 'loading' && state !== 'done' && state !== 'failed') {
    throw invalid('report: state')
  }
  const { store, peers, upstream } = fieldsOf(bytes, 'report: bytes')
  if (
    !isCount(size) ||
    !isCount(done) ||
    !isCount(store) ||
    !isCount(peers) ||
    !isCount(upstream)
  ) {
    throw invalid('report: sizes')
  }
  return {
    state,
    size,
    done,
    bytes: { store, peers, upstream },
    loaded: loaded === true,
    ...(typeof message === 'string' && {
      message: message.slice(0, 1000).replaceAll(UNPRINTABLE, '\ufffd'),
    }),
  }
}

function parseTexts(value: unknown, what: string): string[] {
  if (!Array.isArray(value) || value.length > MAX_NAMES_PER_QUESTION) {
    throw invalid(`${what}, at most ${MAX_NAMES_PER_QUESTION}`)
  }
  return value.map((entry) => parseText(entry, what, 512))
}

function parseText(value: unknown, what: string, maxLength: number): string {
  if (typeof value !== 'string' || value.length > maxLength || value.search(UNPRINTABLE) >= 0)
    throw invalid(what)
  return value
}

function isNodeId(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

function fieldsOf(value: unknown, what: string): Record<string, unknown> {
  const fields = asRecord(value)
  if (!fields) throw invalid(`${what}: an object`)
  return fields
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function invalid(wanted: string): OperationError {
  return new OperationError('MESSAGE_INVALID', `message between nodes: wanted ${wanted}`)
}
