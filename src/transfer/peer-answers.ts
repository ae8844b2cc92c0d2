import type { Readable } from 'node:stream'

import type { Catalog } from '../catalog/catalog.ts'
import { vouchFor, type SignedReferenceRecord } from '../membership/reference-record.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { MAX_WHOLE_BLOB_BYTES, type HeldBlob } from '../peering/peer-messages.ts'
import type { BlobFetcher } from './blob-fetcher.ts'
import type { BlobTorrents } from './blob-torrents.ts'
import type { ContentAccess } from './content-access.ts'

interface PeerAnswersOptions {
  readonly store: Pick<BlobStore, 'stat' | 'open'>
  readonly catalog: Pick<Catalog, 'references'>
  readonly torrents: Pick<BlobTorrents, 'handOver'>
  readonly fetcher: Pick<BlobFetcher, 'shared'>
  readonly access: Pick<ContentAccess, 'isPrivate'>
  /** strangers ask: what is private is not here for them */
  readonly isPublic: boolean
  /** waited for before a small blob is given away in one answer, where that is not to go faster */
  readonly beforeWholeBlob?: ((bytes: number) => Promise<void>) | undefined
  /** told of the bytes of a small blob that is given away in one answer */
  readonly onWholeBlob?: (bytes: number) => void
}

// of all names of a question, which are 64 at most; 256 records are below half a MiB
const MAX_RECORDS = 256

/** What this node tells its peers of what it holds. */
export class PeerAnswers {
  readonly #options: PeerAnswersOptions

  constructor(options: PeerAnswersOptions) {
    this.#options = options
  }

  /** Which of these are here, whole or with at least one verified piece. */
  async have(digests: readonly Digest[]): Promise<HeldBlob[]> {
    const { isPublic, access } = this.#options
    const held: HeldBlob[] = []
    for (const digest of digests) {
      const blob = await this.#held(digest)
      if (!blob) continue
      const isPrivate = await access.isPrivate(digest)
      if (!isPrivate) held.push(blob)
      else if (!isPublic) held.push({ ...blob, isPrivate })
    }
    return held
  }

  async #held(digest: Digest): Promise<HeldBlob | undefined> {
    const { store, fetcher } = this.#options
    const stored = await store.stat(digest)
    if (stored) return { digest, size: stored.size, state: 'complete' }
    const moving = fetcher.shared(digest)
    return moving && { digest, size: moving.size, state: 'partial' }
  }

  async #mayGive(digest: Digest): Promise<boolean> {
    const { isPublic, access } = this.#options
    return !isPublic || !(await access.isPrivate(digest))
  }

  /**
   * The signed records kept for these names, whoever signed them; the newest of each, where they are many.
   * @param swarmKey one that the peer has: records may have been heard under another one
   */
  async references(
    names: readonly string[],
    swarmKey?: SwarmKey,
  ): Promise<SignedReferenceRecord[]> {
    const answer: SignedReferenceRecord[] = []
    const most = Math.max(1, Math.floor(MAX_RECORDS / names.length))
    for (const name of names) {
      const records = await this.#options.catalog.references(name)
      answer.push(...records.sort((a, b) => b.sequence - a.sequence).slice(0, most))
    }
    return swarmKey ? answer.map((record) => vouchFor(record, swarmKey)) : answer
  }

  async metainfo(digest: Digest, swarmKey?: SwarmKey): Promise<Buffer | undefined> {
    if (!(await this.#mayGive(digest))) return undefined
    return this.#options.torrents.handOver(digest, swarmKey)
  }

  async blob(digest: Digest): Promise<{ size: number; content: Readable } | undefined> {
    const { store } = this.#options
    const stored = await store.stat(digest)
    if (!(await this.#mayGive(digest))) return undefined
    if (!stored || stored.size > MAX_WHOLE_BLOB_BYTES) return undefined
    await this.#options.beforeWholeBlob?.(stored.size)
    const content = await store.open(digest)
    this.#options.onWholeBlob?.(stored.size)
    return { size: stored.size, content }
  }
}
