import bencode from 'bencode'

import type { Catalog } from '../catalog/catalog.ts'
import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { OperationError } from '../errors.ts'
import { decodeBlobRecord, encodeBlobRecord } from '../membership/blob-record.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { asDictionary, decodeBencode } from '../support/bencode.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { encodeInfo, hashPieces, makeTorrent, parseInfo } from '../torrent/metainfo.ts'

/** What is read of a store in order to share what it holds. */
export type SharedStore = Pick<BlobStore, 'has' | 'stat' | 'open' | 'openFile' | 'pathOf'>

/** Where torrents are kept. */
export type TorrentCatalog = Pick<Catalog, 'torrentOf' | 'torrentByInfoHash' | 'putTorrent'>

/** The torrents of the blobs this node holds: kept, made where they were lost, handed over and checked. */
export class BlobTorrents {
  readonly #store: SharedStore
  readonly #catalog: TorrentCatalog
  readonly #swarmKeys: SwarmKeys
  readonly #hashing = new SingleFlight<TorrentRecord | undefined>()

  constructor(options: { store: SharedStore; catalog: TorrentCatalog; swarmKeys: SwarmKeys }) {
    this.#store = options.store
    this.#catalog = options.catalog
    this.#swarmKeys = options.swarmKeys
  }

  /** The torrent of a digest: from the catalog, else hashed from the blob if that is here. */
  async torrentOf(digest: Digest): Promise<TorrentRecord | undefined> {
    return (
      (await this.#catalog.torrentOf(digest)) ?? this.#hashing.run(digest, () => this.#hash(digest))
    )
  }

  /**
   * What a peer is given for a digest: the record that ties it to its torrent, and the info dictionary.
   * @param swarmKey one that the peer has
   */
  async handOver(digest: Digest, swarmKey?: SwarmKey): Promise<Buffer | undefined> {
    const torrent = await this.torrentOf(digest)
    if (!torrent) return undefined
    const r = encodeBlobRecord(torrent, swarmKey ?? this.#swarmKeys.current)
    return Buffer.from(bencode.encode({ i: encodeInfo(torrent), r }))
  }

  /**
   * Reads what a peer handed over: made by a member, for this digest and size, and consistent in itself. Whether
   * its pieces are the blob is known only when the digest of the whole agrees.
   * @throws OperationError RECORD_INVALID
   */
  takeOver(bytes: Uint8Array, wanted: { digest: Digest; size: number }): TorrentRecord {
    const fields = asDictionary(decodeBencode(bytes))
    const [i, r] = [fields?.get('i'), fields?.get('r')]
    if (!(i instanceof Buffer) || !(r instanceof Buffer)) throw invalid('a part is missing')
    const record = decodeBlobRecord(r, this.#swarmKeys.known)
    const torrent = parseInfo(i, wanted)
    if (record.digest !== wanted.digest || record.size !== wanted.size)
      throw invalid('it is of another blob')
    if (record.infoHash !== torrent.infoHash || record.pieceLength !== torrent.pieceLength) {
      throw invalid('record and info dictionary disagree')
    }
    return torrent
  }

  /** The blob behind an infohash, where it is whole, and its file. */
  async locate(infoHash: string): Promise<{ record: TorrentRecord; path: string } | undefined> {
    const record = await this.#catalog.torrentByInfoHash(infoHash)
    if (!record || !(await this.#store.has(record.digest))) return undefined
    return { record, path: this.#store.pathOf(record.digest) }
  }

  async #hash(digest: Digest): Promise<TorrentRecord | undefined> {
    if (!(await this.#store.has(digest))) return undefined
    await using file = await this.#store.openFile(digest)
    const pieces = await hashPieces({
      size: file.size,
      read: (offset, length) => file.read(offset, length),
    })
    const torrent = makeTorrent({ digest, size: file.size, pieces })
    await this.#catalog.putTorrent(torrent)
    return torrent
  }
}

function invalid(found: string): OperationError {
  return new OperationError('RECORD_INVALID', `metainfo from a peer: ${found}`)
}
