import type { Catalog } from '../catalog/catalog.ts'
import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { messageOf, OperationError } from '../errors.ts'
import { rendezvousAtInfoHash } from '../membership/rendezvous-key.ts'
import type { Digest } from '../oci/digest.ts'
import { BAN_MS, type KnownPeer, type PeerDirectory } from '../peering/peer-directory.ts'
import type { PeerSide } from '../sandbox/peer-side.ts'
import type { Culprit } from '../sandbox/peer-side-protocol.ts'
import type { RemoteDownload } from '../sandbox/remote-download.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { formatHostAndPort } from '../support/host-and-port.ts'
import { pause } from '../support/pause.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { BlobAssembly } from './blob-assembly.ts'
import type { BlobTorrents } from './blob-torrents.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import type { ContentAccess } from './content-access.ts'
import { HolderQuestions, SMALL_BLOB_BYTES } from './holder-questions.ts'
import { addressOf, type Holder, type PeerFinder } from './peer-finder.ts'
import { RejectedTorrents } from './rejected-torrents.ts'

interface FillOptions {
  /** other digests that will be wanted from the same peers */
  readonly siblings: readonly Digest[]
  readonly signal: AbortSignal
  /** told as soon as somebody says that the blob is there */
  readonly onFound: () => void
  /** told as soon as all nodes that are known have said that they lack it; others are looked for meanwhile */
  readonly onAbsent: () => void
}

interface SwarmSourceOptions {
  /** whether it is known that nobody is there to be asked */
  readonly isAlone: () => boolean
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly torrents: BlobTorrents
  readonly peerSide: PeerSide
  readonly finder: PeerFinder
  readonly directory: PeerDirectory
  /** infohashes are looked up on the DHT as well, where plain clients meet */
  readonly isPublic: boolean
  readonly access: Pick<ContentAccess, 'isPrivate' | 'mayTake'>
  /** told of a peer that sent wrong bytes */
  readonly onBadPeer?: (peer: KnownPeer) => void
  /** told of the bytes of a small blob, which came in one answer and not as pieces */
  readonly onWholeBlob?: (bytes: number) => void
  readonly log?: Log
}

const SEARCH_AGAIN_MS = 1500
// Without any peer that could deliver, and with peers that do not.
const ALONE_MS = 8000
const STALLED_MS = 15_000

/** Fetches blobs from the nodes that hold them. */
export class SwarmSource {
  readonly #options: SwarmSourceOptions
  readonly #log: Log
  readonly #questions: HolderQuestions
  readonly #rejected = new RejectedTorrents()
  readonly #moving = new Map<string, BlobTransfer>()

  constructor(options: SwarmSourceOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    this.#questions = new HolderQuestions({
      ...options,
      client: options.peerSide.questions,
      log: this.#log,
      isAlone: () => options.isAlone(),
      mayTakePrivate: (transfer) => this.#mayTakePrivate(transfer),
      isRejected: (torrent) => this.#rejected.has(torrent),
      ban: (peer, reason) => this.#ban(peer, reason),
    })
    options.peerSide.on('received', ({ endpoint, nodeId, infoHash, bytes }) => {
      const peer = nodeId === undefined ? undefined : options.directory.byId(nodeId)
      const address = endpoint ? formatHostAndPort(endpoint) : 'unknown'
      if (peer) peer.bytesFrom += bytes
      this.#moving.get(infoHash)?.onContribution({
        peer: address,
        ...(peer && { nodeName: peer.nodeName }),
        bytes,
      })
    })
  }

  /** Whether there may be anybody to ask. */
  get hasPeers(): boolean {
    return !this.#options.isAlone()
  }

  /** The torrent by which an earlier download of this blob can be resumed. */
  async resumable(digest: Digest): Promise<TorrentRecord | undefined> {
    const known = await this.#options.catalog.torrentOf(digest)
    return known && !this.#rejected.has(known) ? known : undefined
  }

  /**
   * Brings a small blob into the store, from one peer in one answer.
   * @throws OperationError BLOB_UNKNOWN (nobody has it), BLOB_DIGEST_MISMATCH, DISK_FULL …
   */
  async fetchWhole(transfer: BlobTransfer, options: FillOptions): Promise<void> {
    const { siblings, signal, onFound, onAbsent } = options
    const { holders } = await this.#questions.search(transfer, siblings, {
      resumable: undefined,
      signal,
      onAbsent,
    })
    onFound()
    await this.#questions.fetchWhole(transfer, holders, signal)
  }

  /**
   * Fills what is missing from the nodes that hold it, until nothing is missing.
   * @throws OperationError BLOB_UNKNOWN (nobody has it), TRANSFER_STALLED, RECORD_INVALID, DISK_FULL …; what came
   * until then stays, and pieces may go on coming until the assembly ends
   */
  async fill(assembly: BlobAssembly, options: FillOptions): Promise<void> {
    const { transfer } = assembly
    const { siblings, signal, onFound, onAbsent } = options
    const found = await this.#questions.search(transfer, siblings, {
      resumable: assembly.torrent,
      signal,
      onAbsent,
    })
    assembly.holders.push(...found.holders)
    onFound()
    if (transfer.size < SMALL_BLOB_BYTES && found.holders.length > 0 && !assembly.isOpen) {
      await this.#questions.fetchWhole(transfer, found.holders, signal)
      return
    }
    const torrent = assembly.torrent ?? (await this.#askForTorrent(assembly, found.holders, signal))
    if (!(await assembly.adopt(torrent))) {
      throw new OperationError(
        'RECORD_INVALID',
        `blob ${transfer.digest}: its torrent contradicts what upstream sends`,
      )
    }
    await this.#fetchPieces(assembly, { torrent, ...options })
  }

  async #askForTorrent(
    assembly: BlobAssembly,
    holders: readonly Holder[],
    signal: AbortSignal,
  ): Promise<TorrentRecord> {
    const { transfer } = assembly
    const { torrent, voucher } = await this.#questions.metainfo(transfer, holders, signal)
    assembly.voucher = voucher
    return torrent
  }

  async #fetchPieces(
    assembly: BlobAssembly,
    { torrent, siblings, signal }: FillOptions & { torrent: TorrentRecord },
  ): Promise<void> {
    const { transfer, holders } = assembly
    const partial = await assembly.open()
    signal.throwIfAborted()
    const download = await this.#options.peerSide.download({ record: torrent, partial })
    this.#moving.set(torrent.infoHash, transfer)
    assembly.join(download, async () => {
      this.#moving.delete(torrent.infoHash)
      await download.close({ isKept: assembly.isCommitted })
      if (assembly.isCommitted) return
      this.#options.peerSide.discovery.withdraw(rendezvousAtInfoHash(torrent.infoHash))
    })
    download.once('piece', () => void this.#announce(torrent))
    for (const { peer } of holders) download.dial(addressOf(peer))
    await this.#untilComplete(transfer, { torrent, download, siblings, signal })
  }

  /** Somebody who waits for it has the right. */
  async #mayTakePrivate({ digest, routes }: BlobTransfer): Promise<boolean> {
    for (const route of routes) {
      if (await this.#options.access.mayTake({ ...route, digest })) return true
    }
    return false
  }

  /** Its first piece is here: a plain magnet link finds this node from now on. */
  async #announce({ digest, infoHash }: TorrentRecord): Promise<void> {
    const { peerSide, isPublic, access } = this.#options
    if (!isPublic || (await access.isPrivate(digest))) return
    peerSide.discovery.announce(rendezvousAtInfoHash(infoHash))
  }

  /** Pieces come in by themselves; this finds more peers, and gives up when nothing comes any more. */
  async #untilComplete(
    transfer: BlobTransfer,
    options: {
      torrent: TorrentRecord
      download: RemoteDownload
      siblings: readonly Digest[]
      signal: AbortSignal
    },
  ): Promise<void> {
    const { torrent, download, siblings, signal } = options
    if (download.isComplete) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const stop = new AbortController()
    const anyStop = AbortSignal.any([signal, stop.signal])
    download.on('badPiece', (culprit, index) =>
      this.#onBadPiece(culprit, { digest: transfer.digest, index }),
    )
    download.on('refused', (culprit) => this.#onRefused(culprit))
    download.once('complete', resolve)
    download.once('failed', reject)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    const watch = setInterval(() => {
      const failure = stallOf(transfer, download)
      if (failure) reject(failure)
    }, 500)
    void this.#keepSearching(transfer, { torrent, download, siblings, signal: anyStop })
    try {
      await promise
    } finally {
      clearInterval(watch)
      stop.abort()
    }
  }

  async #keepSearching(
    transfer: BlobTransfer,
    options: {
      torrent: TorrentRecord
      download: RemoteDownload
      siblings: readonly Digest[]
      signal: AbortSignal
    },
  ): Promise<void> {
    const { torrent, download, siblings, signal } = options
    while (!signal.aborted) {
      const again = pause(SEARCH_AGAIN_MS, signal)
      try {
        await Promise.all([
          this.#dialHolders(transfer, { download, siblings, signal }),
          this.#options.isPublic ? this.#dialAtInfoHash(torrent, download, signal) : undefined,
        ])
      } catch (error) {
        if (signal.aborted) return
        this.#log.debug(
          { digest: transfer.digest, error: messageOf(error) },
          'search for peers failed',
        )
      }
      await again
    }
  }

  async #dialHolders(
    transfer: BlobTransfer,
    {
      download,
      siblings,
      signal,
    }: { download: RemoteDownload; siblings: readonly Digest[]; signal: AbortSignal },
  ): Promise<void> {
    for await (const { peer } of this.#questions.holders(transfer, siblings, { signal }))
      download.dial(addressOf(peer))
  }

  async #dialAtInfoHash(
    { infoHash }: TorrentRecord,
    download: RemoteDownload,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const peer of this.#options.peerSide.discovery.findPeers(
      rendezvousAtInfoHash(infoHash),
      { signal },
    )) {
      download.dial(peer)
    }
  }

  /**
   * Right pieces of wrong content: this torrent is never taken again, nor who handed it over and said that the whole
   * was there. Who has only a part of it may have been deceived as well.
   */
  async reject(torrent: TorrentRecord, voucher: Holder | undefined): Promise<void> {
    this.#rejected.add(torrent)
    await this.#options.catalog.removeTorrent(torrent.digest)
    if (voucher?.blob.state === 'complete')
      this.#ban(voucher.peer, 'handed over the torrent of other content')
  }

  #onRefused(culprit: Culprit): void {
    const peer = this.#peerBehind(culprit)
    if (!peer) return
    this.#log.warn({ peer: peer.nodeName }, 'a peer offers pieces that it does not give')
    if (this.#options.directory.strike(peer.nodeId))
      this.#ban(peer, 'offered pieces and did not give them')
  }

  #peerBehind({ endpoint, nodeId }: Culprit): KnownPeer | undefined {
    const { directory } = this.#options
    if (nodeId !== undefined) return directory.byId(nodeId)
    return endpoint && directory.byAddress(endpoint.host, endpoint.port)
  }

  #onBadPiece(culprit: Culprit, { digest, index }: { digest: Digest; index: number }): void {
    const { peerSide } = this.#options
    const { endpoint, nodeId } = culprit
    const peer = this.#peerBehind(culprit)
    this.#log.warn(
      { digest, piece: index, peer: peer?.nodeName ?? endpoint?.host },
      'a peer sent a wrong piece and is cut off',
    )
    if (peer) this.#ban(peer, 'sent a piece with wrong bytes')
    const untilMs = Date.now() + BAN_MS
    if (nodeId !== undefined) peerSide.ban(nodeId, untilMs)
    if (endpoint) peerSide.ban(`${endpoint.host}:${endpoint.port}`, untilMs)
  }

  #ban(peer: KnownPeer, reason: string): void {
    peer.badPieces += 1
    this.#options.directory.ban(peer.nodeId, reason)
    this.#options.onBadPeer?.(peer)
    this.#options.peerSide.ban(peer.nodeId, peer.bannedUntilMs)
    this.#options.peerSide.ban(`${peer.host}:${peer.peerPort}`, peer.bannedUntilMs)
  }
}

function stallOf(transfer: BlobTransfer, download: RemoteDownload): OperationError | undefined {
  const silentMs = Date.now() - transfer.lastProgressAtMs
  const limitMs = download.peers.usable > 0 ? STALLED_MS : ALONE_MS
  if (silentMs < limitMs) return undefined
  const { missingPieces } = download
  return new OperationError(
    'TRANSFER_STALLED',
    `blob ${transfer.digest}: nothing came for ${Math.round(silentMs / 1000)} s, ${missingPieces} pieces are missing`,
    { details: { missingPieces, connectedPeers: download.peers.total } },
  )
}
