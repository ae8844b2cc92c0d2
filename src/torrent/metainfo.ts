import { createHash } from 'node:crypto'

import bencode from 'bencode'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { OperationError } from '../errors.ts'
import { hexOf, type Digest } from '../oci/digest.ts'
import { asDictionary, decodeBencode } from '../support/bencode.ts'
import { pieceCount, pieceLength } from './piece-length.ts'

const SHA1_BYTES = 20

/** What is needed to derive a torrent: the same on every node that holds the blob. */
export interface TorrentSource {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  /** SHA-1 of every piece, 20 bytes each */
  readonly pieces: Buffer
}

/** The info dictionary (BEP 3): `length`, `name`, `piece length`, `pieces`, and nothing else. */
export function encodeInfo({ digest, size, pieces }: TorrentSource): Buffer {
  const info = { length: size, name: hexOf(digest), 'piece length': pieceLength(size), pieces }
  return Buffer.from(bencode.encode(info))
}

/** The torrent of a blob whose pieces were hashed. */
export function makeTorrent(source: TorrentSource): TorrentRecord {
  const { digest, size, pieces } = source
  const infoHash = createHash('sha1').update(encodeInfo(source)).digest('hex')
  return { digest, size, pieceLength: pieceLength(size), infoHash, pieces }
}

/**
 * Reads an info dictionary from a stranger: nothing but what `digest` and `size` demand is taken.
 * @throws OperationError RECORD_INVALID
 */
export function parseInfo(
  bytes: Uint8Array,
  { digest, size }: { digest: Digest; size: number },
): TorrentRecord {
  const pieces = asDictionary(decodeBencode(bytes))?.get('pieces')
  if (!(pieces instanceof Buffer)) throw invalid('it has no pieces')
  if (pieces.length !== SHA1_BYTES * pieceCount(size)) {
    throw invalid(`wanted ${pieceCount(size)} pieces, found ${pieces.length / SHA1_BYTES}`)
  }
  const torrent = makeTorrent({ digest, size, pieces: Buffer.from(pieces) })
  if (!encodeInfo(torrent).equals(bytes))
    throw invalid('it differs from what its digest and size demand')
  return torrent
}

/** A .torrent file: the info dictionary alone, found by the DHT (BEP 3, BEP 5). */
export function encodeTorrentFile(torrent: TorrentSource): Buffer {
  return Buffer.concat([Buffer.from('d4:info'), encodeInfo(torrent), Buffer.from('e')])
}

/** BEP 9 magnet link. @param peer a peer to begin with, `host:port`; without it the DHT alone leads there */
export function magnetLink(
  { digest, infoHash, size }: Omit<TorrentRecord, 'pieces' | 'pieceLength'>,
  peer?: string,
): string {
  const link = `magnet:?xt=urn:btih:${infoHash}&dn=${hexOf(digest)}&xl=${size}`
  return peer === undefined ? link : `${link}&x.pe=${peer}`
}

/** The SHA-1 of one piece, 20 bytes. */
export function pieceHashOf({ pieces }: Pick<TorrentRecord, 'pieces'>, index: number): Buffer {
  return pieces.subarray(index * SHA1_BYTES, (index + 1) * SHA1_BYTES)
}

/** Hashes the pieces of a blob that is on disk but whose torrent was never made or was lost. */
export async function hashPieces(
  blob: { size: number; read(offset: number, length: number): Promise<Buffer> },
  { signal }: { signal?: AbortSignal } = {},
): Promise<Buffer> {
  const { size } = blob
  const length = pieceLength(size)
  const hashes: Buffer[] = []
  for (let offset = 0; offset < size; offset += length) {
    signal?.throwIfAborted()
    const piece = await blob.read(offset, Math.min(length, size - offset))
    hashes.push(createHash('sha1').update(piece).digest())
  }
  return Buffer.concat(hashes)
}

function invalid(found: string): OperationError {
  return new OperationError('RECORD_INVALID', `info dictionary: ${found}`)
}
