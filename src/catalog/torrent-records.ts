import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import type { CatalogDatabase, Change } from './catalog-database.ts'
import { keyOf } from './keys.ts'

/** What is needed to share a blob: its info dictionary in parts (BEP 3). */
export interface TorrentRecord {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  /** bytes */
  readonly pieceLength: number
  /** 40 hex digits */
  readonly infoHash: string
  /** the SHA-1 of every piece, 20 bytes each */
  readonly pieces: Buffer
}

const HASH_BYTES = 20
const INFO_HASH = /^[0-9a-f]{40}$/

/** Torrents by digest and by infohash. Not rebuilt when lost: the bytes are hashed again when they are wanted. */
export class TorrentRecords {
  readonly #database: CatalogDatabase
  readonly #writing = new KeyedLock()

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  async put(record: TorrentRecord): Promise<void> {
    await this.#writing.run(record.digest, async () => {
      const value = { ...record, pieces: record.pieces.toString('base64') }
      await this.#database.write([
        ...(await this.#infoHashRemoval(record.digest)),
        { key: keyOf('torrent', record.digest), value },
        { key: keyOf('infohash', record.infoHash), value: record.digest },
      ])
    })
  }

  async remove(digest: Digest): Promise<void> {
    await this.#writing.run(digest, async () => {
      const torrent = { key: keyOf('torrent', digest), value: undefined }
      await this.#database.write([torrent, ...(await this.#infoHashRemoval(digest))])
    })
  }

  async get(digest: Digest): Promise<TorrentRecord | undefined> {
    return parseTorrent(await this.#database.get(keyOf('torrent', digest)))
  }

  /** @param infoHash 40 hex digits */
  async byInfoHash(infoHash: string): Promise<TorrentRecord | undefined> {
    const digest = await this.#database.get(keyOf('infohash', infoHash))
    const record = isDigest(digest) ? await this.get(digest) : undefined
    return record?.infoHash === infoHash ? record : undefined
  }

  async #infoHashRemoval(digest: Digest): Promise<Change[]> {
    const before = await this.get(digest)
    return before ? [{ key: keyOf('infohash', before.infoHash), value: undefined }] : []
  }
}

function parseTorrent(value: unknown): TorrentRecord | undefined {
  const { digest, size, pieceLength, infoHash, pieces } = asRecord(value) ?? {}
  if (!isDigest(digest) || typeof size !== 'number' || typeof pieceLength !== 'number')
    return undefined
  if (typeof infoHash !== 'string' || !INFO_HASH.test(infoHash)) return undefined
  if (typeof pieces !== 'string') return undefined
  const hashes = Buffer.from(pieces, 'base64')
  if (hashes.length !== HASH_BYTES * Math.ceil(size / pieceLength)) return undefined
  return { digest, size, pieceLength, infoHash, pieces: hashes }
}
