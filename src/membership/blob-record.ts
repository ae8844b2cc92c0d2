import { createHmac, timingSafeEqual } from 'node:crypto'

import bencode from 'bencode'

import { OperationError } from '../errors.ts'
import { bytesOf, digestFromBytes, type Digest } from '../oci/digest.ts'
import { asDictionary, decodeBencode } from '../support/bencode.ts'
import type { SwarmKey } from './swarm-key.ts'

/** What ties a digest to a torrent: a member says that this infohash carries the blob of this digest. */
export interface BlobRecord {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  /** bytes */
  readonly pieceLength: number
  /** SHA-1 of the info dictionary (BEP 3), 40 hex digits */
  readonly infoHash: string
}

/** The record as peers hand it over: bencode with a MAC under the swarm key. */
export function encodeBlobRecord(record: BlobRecord, key: SwarmKey): Buffer {
  const fields = {
    d: bytesOf(record.digest),
    l: record.size,
    pl: record.pieceLength,
    ih: Buffer.from(record.infoHash, 'hex'),
  }
  return Buffer.from(bencode.encode({ ...fields, a: macOf(record, key) }))
}

/**
 * Reads a record from a stranger and proves that a member made it.
 * @param keys those of the swarm that count
 * @throws OperationError RECORD_INVALID
 */
export function decodeBlobRecord(bytes: Uint8Array, keys: readonly SwarmKey[]): BlobRecord {
  const fields = asDictionary(decodeBencode(bytes))
  if (!fields) throw invalid('wanted a bencoded dictionary')
  const [d, l, pl, ih, a] = ['d', 'l', 'pl', 'ih', 'a'].map((name) => fields.get(name))
  if (!isBytes(d, 32) || !isBytes(ih, 20) || !isBytes(a, 32))
    throw invalid('a field is missing or too short')
  if (!isSize(l) || !isSize(pl) || pl === 0 || pl > MAX_PIECE_LENGTH)
    throw invalid('a length is not a whole number')
  const record: BlobRecord = {
    digest: digestFromBytes(d),
    size: l,
    pieceLength: pl,
    infoHash: Buffer.from(ih).toString('hex'),
  }
  if (!keys.some((key) => timingSafeEqual(a, macOf(record, key))))
    throw invalid('its MAC is not of this swarm')
  return record
}

// The MAC covers it as four bytes.
const MAX_PIECE_LENGTH = 2 ** 32 - 1

function macOf(record: BlobRecord, key: SwarmKey): Buffer {
  const lengths = Buffer.alloc(12)
  lengths.writeBigUInt64BE(BigInt(record.size), 0)
  lengths.writeUInt32BE(record.pieceLength, 8)
  return createHmac('sha256', key)
    .update('dd1/rec\0')
    .update(bytesOf(record.digest))
    .update(lengths)
    .update(Buffer.from(record.infoHash, 'hex'))
    .digest()
}

function isBytes(value: unknown, length: number): value is Buffer {
  return value instanceof Buffer && value.length === length
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function invalid(found: string): OperationError {
  return new OperationError('RECORD_INVALID', `blob record: ${found}`)
}
