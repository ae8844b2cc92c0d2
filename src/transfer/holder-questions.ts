import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import type { KnownPeer } from '../peering/peer-directory.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { formatHostAndPort } from '../support/host-and-port.ts'
import { pause } from '../support/pause.ts'
import type { Log } from '../telemetry/log.ts'
import type { BlobTorrents } from './blob-torrents.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import { addressOf, type Holder, type PeerFinder } from './peer-finder.ts'

interface HolderQuestionsOptions {
  readonly store: BlobStore
  readonly torrents: BlobTorrents
  readonly finder: PeerFinder
  /** whether it is known that nobody is there to be asked */
  readonly isAlone: () => boolean
  readonly client: PeerQuestions
  /** whether content that a peer holds as private may be taken here: somebody who waits for it has the right */
  readonly mayTakePrivate: (transfer: BlobTransfer) => Promise<boolean>
  /** plain clients may have what no node says that it holds */
  readonly isPublic: boolean
  /** a torrent that is known to carry other content */
  readonly isRejected: (torrent: TorrentRecord) => boolean
  readonly ban: (peer: KnownPeer, reason: string) => void
  /** told of the bytes of a blob that came whole */
  readonly onWholeBlob?: ((bytes: number) => void) | undefined
  readonly log: Log
}

/** A blob below this is fetched from one peer in one answer. */
export const SMALL_BLOB_BYTES = 1024 * 1024
// A client of the door goes elsewhere quickly: nobody found in about three seconds is nobody.
const SEARCH_MS = 800
const SEARCH_PAUSE_MS = 200

/** What is asked of the nodes that hold a blob: whether, its torrent, and small blobs themselves. */
export class HolderQuestions {
  readonly #options: HolderQuestionsOptions
  readonly #log: Log

  constructor(options: HolderQuestionsOptions) {
    this.#options = options
    this.#log = options.log
  }

  /** Looks for holders until the first one answers; gives up after a few rounds, unless it can go on without. */
  async search(
    transfer: BlobTransfer,
    siblings: readonly Digest[],
    {
      resumable,
      signal,
      onAbsent,
    }: { resumable: TorrentRecord | undefined; signal: AbortSignal; onAbsent: () => void },
  ): Promise<{ holders: Holder[] }> {
    const holders: Holder[] = []
    const startedAtMs = Date.now()
    do {
      for await (const holder of this.holders(transfer, siblings, { signal, onAbsent })) {
        holders.push(holder)
        if (transfer.size < 0) transfer.onSize(holder.blob.size)
        if (holder.blob.state === 'complete' || transfer.size >= SMALL_BLOB_BYTES) break
      }
      if (holders.length === 0 && !this.#options.isAlone()) await pause(SEARCH_PAUSE_MS, signal)
      // A pause that is cut off returns at once, and so does a lookup: nothing else would end this loop.
      signal.throwIfAborted()
    } while (holders.length === 0 && !this.#isTimeUp(startedAtMs))
    if (transfer.size < 0 && resumable) transfer.onSize(resumable.size)
    if (holders.length === 0 && !(resumable && this.#options.isPublic)) {
      throw new OperationError(
        'BLOB_UNKNOWN',
        `blob ${transfer.digest}: no node that can be found holds it`,
      )
    }
    return { holders }
  }

  #isTimeUp(startedAtMs: number): boolean {
    return this.#options.isAlone() || Date.now() - startedAtMs >= SEARCH_MS
  }

  async *holders(
    transfer: BlobTransfer,
    siblings: readonly Digest[],
    options: { signal: AbortSignal; onAbsent?: () => void },
  ): AsyncIterable<Holder> {
    const digests = [transfer.digest, ...siblings.filter((digest) => digest !== transfer.digest)]
    const answers = this.#options.finder.holders(digests, { images: transfer.images, ...options })
    for await (const holder of answers) {
      if (holder.blob.digest !== transfer.digest) continue
      if (!transfer.mayHave(holder.blob.size)) continue
      if (holder.blob.isPrivate && !(await this.#options.mayTakePrivate(transfer))) continue
      yield holder
    }
  }

  async fetchWhole(
    transfer: BlobTransfer,
    holders: readonly Holder[],
    signal: AbortSignal,
  ): Promise<void> {
    let failure: unknown
    for (const { peer } of holders) {
      try {
        await this.#fetchWholeFrom(transfer, peer, signal)
        return
      } catch (error) {
        signal.throwIfAborted()
        failure = error
        if (
          isOperationError(error, 'BLOB_DIGEST_MISMATCH') ||
          isOperationError(error, 'BLOB_SIZE_MISMATCH')
        ) {
          this.#options.ban(peer, 'sent a blob with wrong bytes')
        } else if (!isOperationError(error, 'NODE_UNREACHABLE')) throw error
        this.#options.finder.doubt(peer.nodeId, transfer.digest)
      }
    }
    throw (
      failure ?? new OperationError('BLOB_UNKNOWN', `blob ${transfer.digest}: its holders are gone`)
    )
  }

  async #fetchWholeFrom(
    transfer: BlobTransfer,
    peer: KnownPeer,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, store } = this.#options
    const { digest, size } = transfer
    const content = await client.blob(addressOf(peer), digest, { signal, maxBytes: size })
    if (!content)
      throw new OperationError('NODE_UNREACHABLE', `${peer.nodeName} no longer has ${digest}`)
    await store.ingest(content, { digest, size, signal })
    peer.bytesFrom += size
    this.#options.onWholeBlob?.(size)
    transfer.onMoving()
    transfer.onBytes('peers', size)
    transfer.onContribution({
      peer: formatHostAndPort({ host: peer.host, port: peer.peerPort }),
      nodeName: peer.nodeName,
      bytes: size,
    })
  }

  /** The torrent of a blob, from the first holder whose answer proves sound, and who that was. */
  async metainfo(
    transfer: BlobTransfer,
    first: readonly Holder[],
    signal: AbortSignal,
  ): Promise<{ torrent: TorrentRecord; voucher: Holder }> {
    const tried = new Set<string>()
    const tryHolder = async ({ peer }: Holder): Promise<TorrentRecord | undefined> => {
      if (tried.has(peer.nodeId)) return undefined
      tried.add(peer.nodeId)
      return this.#metainfoFrom(transfer, peer, signal)
    }
    for (const holder of first) {
      const torrent = await tryHolder(holder)
      if (torrent) return { torrent, voucher: holder }
    }
    for await (const holder of this.holders(transfer, [], { signal })) {
      const torrent = await tryHolder(holder)
      if (torrent) return { torrent, voucher: holder }
    }
    throw new OperationError(
      'BLOB_UNKNOWN',
      `blob ${transfer.digest}: ${tried.size} nodes say that they hold it, none gave a sound torrent`,
    )
  }

  async #metainfoFrom(
    transfer: BlobTransfer,
    peer: KnownPeer,
    signal: AbortSignal,
  ): Promise<TorrentRecord | undefined> {
    const { client, torrents } = this.#options
    try {
      const bytes = await client.metainfo(addressOf(peer), transfer.digest, {
        signal,
        timeoutMs: 10_000,
      })
      if (!bytes) return undefined
      const torrent = torrents.takeOver(bytes, transfer)
      return this.#options.isRejected(torrent) ? undefined : torrent
    } catch (error) {
      signal.throwIfAborted()
      this.#log.debug(
        { peer: peer.nodeName, error: messageOf(error) },
        'no sound torrent from a peer',
      )
      return undefined
    }
  }
}
