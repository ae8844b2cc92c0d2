import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'

import type Wire from 'bittorrent-protocol'
import WebTorrent, { type Torrent } from 'webtorrent'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { BufferPool } from '../support/buffer-pool.ts'
import { deadline } from '../support/deadline.ts'
import { tameHeap } from '../support/engine-flags.ts'
import { TokenBucket } from '../support/token-bucket.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { BlobDownload } from './blob-download.ts'
import {
  BlockSource,
  unusedChunkStore,
  type PieceStore,
  type VerifiedBytes,
} from './block-source.ts'
import { Connections, type Channel, type DialedPeer } from './connections.ts'
import { encodeTorrentFile } from './metainfo.ts'
import { OriginOnce } from './origin-once.ts'
import { endpointOf, PeerExchange, type PeerEndpoint } from './peer-exchange.ts'
import { pieceCount } from './piece-length.ts'
import { QUIET_CLIENT, tame } from './taming.ts'
import { ReadBudget } from './read-budget.ts'
import { MAX_REQUESTS_PER_WIRE, UploadQueue } from './upload-queue.ts'
import { boundPeerPieces, isOurs, makePeerId, socketOf } from './wire-identity.ts'
import { useWireSockets } from './wire-socket.ts'

/** A complete blob that peers may fetch. `close` when the torrent goes idle. */
export interface SeedContent {
  readonly record: TorrentRecord
  readonly content: VerifiedBytes
  close(): Promise<void>
}

interface TorrentEngineOptions {
  /** our one peer port, told to peers so that others can find us (BEP 10, `p`) */
  readonly peerPort: number
  readonly nodeId: string
  /** plain TCP by default */
  readonly channel?: Channel
  readonly uploadBytesPerSecond?: number
  readonly downloadBytesPerSecond?: number
  /** the blob behind an infohash, if this node holds it */
  load(infoHash: string): Promise<SeedContent | undefined>
  readonly log?: Log
}

/** Bytes that went over one connection. */
export interface WireTraffic {
  readonly endpoint: PeerEndpoint | undefined
  /** of a node of ours; proven in a closed swarm */
  readonly nodeId: string | undefined
  readonly infoHash: string
  readonly bytes: number
}

interface EngineEvents {
  received: [WireTraffic]
  sent: [WireTraffic]
}

interface LiveTorrent {
  readonly torrent: Torrent
  readonly record: TorrentRecord
  download: BlobDownload | undefined
  close(): Promise<void>
  idleSinceMs: number
}

/** What a download gives its owner. */
export interface TorrentDownload extends AsyncDisposable {
  readonly progress: BlobDownload
  /** Connects to a peer unless it is connected or being connected, under whichever of its addresses. */
  dial(peer: DialedPeer): void
  readonly connectedPeers: number
}

const READY_TIMEOUT_MS = 10_000
const MAX_WIRES = 96
const IDLE_MS = 120_000
// Torrents that peers have asked for; beyond it, those that nobody is connected for go soon.
const MAX_LIVE = 128
const SURPLUS_IDLE_MS = 2000
const MAX_IDLE_BUFFER_BYTES = 16 * 1024 * 1024
const SWEEP_INTERVAL_MS = 30_000

/**
 * The BitTorrent side: webtorrent with its defaults turned off. It keeps the handshake, the wire, ut_metadata and
 * the set of connections; discovery, dialing, picking, storing, serving and reading are ours. Torrents are made
 * when a peer asks for them and go when they have been idle, so that held blobs cost nothing.
 */
export class TorrentEngine extends EventEmitter<EngineEvents> implements AsyncDisposable {
  readonly #options: TorrentEngineOptions
  readonly #client: WebTorrent
  readonly #live = new Map<string, Promise<LiveTorrent | undefined>>()
  readonly #uploads: UploadQueue
  readonly #downloadLimit: TokenBucket | undefined
  readonly #buffers = new BufferPool({ maxBytes: MAX_IDLE_BUFFER_BYTES })
  readonly #reads = new ReadBudget(this.#buffers)
  readonly #log: Log
  readonly #connections: Connections
  readonly #sweep: NodeJS.Timeout

  private constructor(options: TorrentEngineOptions, client: WebTorrent) {
    super()
    this.#options = options
    this.#client = client
    this.#connections = new Connections(client, options.channel)
    this.#log = options.log ?? silentLog
    const { uploadBytesPerSecond, downloadBytesPerSecond } = options
    this.#downloadLimit =
      downloadBytesPerSecond === undefined ? undefined : new TokenBucket(downloadBytesPerSecond)
    this.#uploads = new UploadQueue({
      ...(uploadBytesPerSecond !== undefined && { bytesPerSecond: uploadBytesPerSecond }),
    })
    client.get = async (infoHash) => {
      const live = typeof infoHash === 'string' ? await this.#liveOrLoaded(infoHash) : undefined
      return live?.torrent ?? null
    }
    client.on('error', (error: Error) => this.#log.warn({ error: error.message }, 'torrent client'))
    this.#sweep = setInterval(() => this.#closeAllIdle(IDLE_MS), SWEEP_INTERVAL_MS)
    this.#sweep.unref()
  }

  static async open(options: TorrentEngineOptions): Promise<TorrentEngine> {
    useWireSockets()
    tameHeap({ isTransferring: false })
    const client = new WebTorrent({ ...QUIET_CLIENT, peerId: makePeerId() })
    await once(client, 'listening', { signal: deadline(READY_TIMEOUT_MS) })
    // Connections come in through the peer port, which tells BitTorrent from questions between nodes.
    client._connPool.tcpServer.close()
    return new TorrentEngine(options, client)
  }

  /** Takes a connection on which a BitTorrent handshake begins. */
  accept(socket: Socket): void {
    socket.setNoDelay(true)
    this.#client._connPool._onConnection(socket, 'tcp')
  }

  /**
   * Fetches a blob piece by piece into `partial`, serving meanwhile what is there; when the blob is complete the
   * torrent goes on as a seed, reading from `partial`, until it is idle.
   * @param closeContent called when the torrent ends: the engine reads no more
   */
  async download(
    { record, partial }: { record: TorrentRecord; partial: PieceStore },
    { closeContent }: { closeContent: () => Promise<void> },
  ): Promise<TorrentDownload> {
    await (await this.#live.get(record.infoHash))?.close()
    const starting = this.#start({
      record,
      content: partial,
      partial,
      close: closeContent,
    })
    this.#live.set(record.infoHash, starting)
    const live = await starting
    const { download, torrent } = live
    if (!download) throw new TypeError('a download was started without one')
    return {
      progress: download,
      dial: (peer) => this.#connections.dial(torrent, peer),
      get connectedPeers() {
        return torrent.wires.length
      },
      [Symbol.asyncDispose]: () => live.close(),
    }
  }

  /** Cuts a peer off and takes it no more until then, by node id or by `host:port`. */
  ban(peer: string, untilMs: number = Number.POSITIVE_INFINITY): void {
    this.#connections.ban(peer, untilMs)
    for (const torrent of this.#torrents()) {
      for (const wire of torrent.wires)
        if (this.#connections.isBannedWire(torrent, wire)) wire.destroy()
    }
  }

  /** @param peer a node id or `host:port` */
  isBanned(peer: string, nowMs: number = Date.now()): boolean {
    return this.#connections.isBanned(peer, nowMs)
  }

  /** What peers may take together from now on. */
  limitUploads(bytesPerSecond: number): void {
    this.#uploads.limit(bytesPerSecond)
  }

  /** Live torrents; held blobs that nobody asks for are not among them. */
  get liveTorrents(): number {
    return this.#live.size
  }

  /** Drops a torrent whose blob goes away. */
  async drop(infoHash: string): Promise<void> {
    await (await this.#live.get(infoHash))?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweep)
    this.#uploads.close()
    await Promise.all([...this.#live.values()].map(async (live) => (await live)?.close()))
    if (this.#client.destroyed) return
    // It reports that its own server is closed already: nothing to mend.
    await new Promise<void>((done) => this.#client.destroy(() => done()))
  }

  #torrents(): Torrent[] {
    return (this.#client as unknown as { torrents: Torrent[] }).torrents
  }

  async #liveOrLoaded(infoHash: string): Promise<LiveTorrent | undefined> {
    const live = this.#live.get(infoHash)
    if (live) return live
    const loading = this.#load(infoHash)
    this.#live.set(infoHash, loading)
    if (this.#live.size > MAX_LIVE) this.#closeAllIdle(SURPLUS_IDLE_MS)
    try {
      const loaded = await loading
      if (!loaded && this.#live.get(infoHash) === loading) this.#live.delete(infoHash)
      return loaded
    } catch (error) {
      if (this.#live.get(infoHash) === loading) this.#live.delete(infoHash)
      this.#log.warn({ infohash: infoHash, error: String(error) }, 'cannot seed')
      return undefined
    }
  }

  async #load(infoHash: string): Promise<LiveTorrent | undefined> {
    const seed = await this.#options.load(infoHash)
    return (
      seed && this.#start({ record: seed.record, content: seed.content, close: () => seed.close() })
    )
  }

  async #start(options: {
    record: TorrentRecord
    content: VerifiedBytes
    partial?: PieceStore
    close: () => Promise<void>
  }): Promise<LiveTorrent> {
    const { record, content, partial } = options
    tameHeap({ isTransferring: true })
    const torrent = this.#add(record, partial)
    const limit = this.#downloadLimit
    const download =
      partial && new BlobDownload({ torrent, record, partial, limit, buffers: this.#buffers })
    const live: LiveTorrent = {
      torrent,
      record,
      download,
      close: () => this.#closeTorrent(live, options.close),
      idleSinceMs: Date.now(),
    }
    this.#attachWires(live, new BlockSource(content, { ...record, budget: this.#reads }))
    tame(torrent, download)
    await once(torrent, 'ready', { signal: deadline(READY_TIMEOUT_MS) })
    torrent._rarityMap.destroy()
    torrent._rarityMap = { destroy: () => {} }
    return live
  }

  #add(record: TorrentRecord, partial: PieceStore | undefined): Torrent {
    const torrent = this.#client.add(encodeTorrentFile(record), {
      announce: [],
      preloadedStore: unusedChunkStore(record.pieceLength),
      storeCacheSlots: 0,
      // All bits set, or those that the partial blob has; nothing is read and hashed again.
      ...(partial ? { bitfield: allPiecesTrusted(partial) } : { skipVerify: true }),
      deselect: true,
      alwaysChokeSeeders: false,
      uploads: Number.MAX_SAFE_INTEGER,
    })
    torrent.setMaxListeners(0)
    torrent.on('error', (error: Error) =>
      this.#log.warn({ infohash: record.infoHash, error: error.message }, 'torrent failed'),
    )
    torrent.on('warning', () => {})
    return torrent
  }

  #attachWires(live: LiveTorrent, blocks: BlockSource): void {
    const { torrent, record, download } = live
    const origin = download ? undefined : makeOriginOnce(record)
    const exchange = new PeerExchange({
      onPeers: (peers) => {
        if (!download || download.isComplete) return
        for (const peer of peers) this.#connections.dial(torrent, peer)
      },
    })
    torrent.on('wire', (wire: Wire) => {
      const socket = socketOf(torrent, wire)
      if (
        !socket ||
        torrent.wires.length > MAX_WIRES ||
        !this.#connections.isWelcome(torrent, wire)
      ) {
        wire.destroy()
        return
      }
      Object.assign(wire.extendedHandshake, {
        p: this.#options.peerPort,
        reqq: MAX_REQUESTS_PER_WIRE,
        v: 'ddocker',
        dd: this.#options.nodeId,
      })
      wire.on('extended', (kind: string) => {
        if (kind === 'handshake' && this.#connections.isBannedWire(torrent, wire)) wire.destroy()
      })
      const member = this.#options.channel?.memberAt(socket)
      this.#uploads.serve(wire, socket, { reader: blocks, member })
      boundPeerPieces(wire, pieceCount(record.size, record.pieceLength))
      if (isOurs(wire)) {
        origin?.attach(wire)
        exchange.attach(wire)
      }
      download?.addWire(wire, member)
      this.#countTraffic(live, wire)
      wire.once('close', () => (live.idleSinceMs = Date.now()))
    })
  }

  #countTraffic({ torrent, record: { infoHash } }: LiveTorrent, wire: Wire): void {
    const read = () => ({
      endpoint: endpointOf(wire),
      nodeId: this.#connections.nodeIdOf(torrent, wire),
      infoHash,
    })
    // Not for every block: measured, it took 8 % of a leecher's time in a crowd (bench/crowd.ts).
    let peer = read()
    wire.on('extended', (kind: string) => {
      if (kind === 'handshake') peer = read()
    })
    const report = (event: 'received' | 'sent') => (bytes: number) => {
      this.emit(event, { ...peer, bytes })
    }
    wire.on('download', report('received'))
    wire.on('upload', report('sent'))
  }

  async #closeTorrent(live: LiveTorrent, closeContent: () => Promise<void>): Promise<void> {
    const { torrent, record, download } = live
    download?.close()
    const kept = this.#live.get(record.infoHash)
    if (kept && (await kept) === live) this.#live.delete(record.infoHash)
    if (this.#live.size === 0) tameHeap({ isTransferring: false })
    if (torrent.destroyed) return
    await new Promise<void>((done) => torrent.destroy(done))
    await closeContent()
  }

  #closeAllIdle(idleMs: number): void {
    for (const loading of this.#live.values()) void this.#closeIdle(loading, idleMs)
  }

  async #closeIdle(loading: Promise<LiveTorrent | undefined>, idleMs: number): Promise<void> {
    const live = await loading
    if (!live || live.torrent.wires.length > 0) return
    if (live.download && !live.download.isComplete) return
    if (Date.now() - live.idleSinceMs > idleMs) await live.close()
  }
}

function makeOriginOnce(record: TorrentRecord): OriginOnce {
  const { size, pieceLength } = record
  return new OriginOnce({
    pieceCount: pieceCount(size, pieceLength),
    pieceLength,
    lengthOf: (index) => Math.min(pieceLength, size - index * pieceLength),
  })
}

function allPiecesTrusted(partial: PieceStore): Uint8Array {
  return Uint8Array.from(partial.bitfield)
}
