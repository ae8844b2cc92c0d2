import type { Catalog } from '../catalog/catalog.ts'
import type { ImageRecord } from '../catalog/image-records.ts'
import type { Config } from '../config/options.ts'
import { OperationError, type ErrorCode, ERROR_CODES } from '../errors.ts'
import { familiarName, parseReference } from '../oci/reference.ts'
import type { KnownPeer, PeerDirectory } from '../peering/peer-directory.ts'
import type {
  EngineStatus,
  FailureStatus,
  ImageStatus,
  NodeStatus,
  PeerStatus,
  StatusEvent,
  StatusSource,
  TransferStatus,
} from '../status/node-status.ts'
import type { PeerSide } from '../sandbox/peer-side.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { formatHostAndPort } from '../support/host-and-port.ts'
import { SingleFlight } from '../support/single-flight.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { BlobFetcher } from '../transfer/blob-fetcher.ts'
import type { TransferSnapshot } from '../transfer/transfer-record.ts'
import { VERSION } from '../version.ts'
import type { EngineImages } from './engine-images.ts'
import type { Publishing } from './publishing.ts'

interface RunningStatusOptions {
  readonly config: Config
  readonly metrics: Metrics
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly directory: PeerDirectory
  readonly peerSide: PeerSide
}

/** What is known only when the node is open. */
interface OpenParts {
  readonly ready: {
    readonly registry: string
    readonly peerPort: number
    readonly nodeId: string
    readonly swarmId: string
  }
  readonly fetcher: BlobFetcher
  readonly engineImages: EngineImages
  readonly publishing: Pick<Publishing, 'status' | 'has'>
}

const MAX_FAILURES = 20
const COUNT_BLOBS_EVERY_MS = 5000
const MAX_EARLIER_TRANSFERS = 200

/** What the status page, `/api/v1` and the commands show of a running node. */
export class RunningStatus implements StatusSource {
  readonly #options: RunningStatusOptions
  readonly #startedAtMs = Date.now()
  readonly #failures: FailureStatus[] = []
  readonly #listeners = new Set<(event: StatusEvent) => void>()
  readonly #counting = new SingleFlight<{ count: number; bytes: number }>()
  #blobs = { count: 0, bytes: 0, atMs: 0 }
  #parts: OpenParts | undefined

  constructor(options: RunningStatusOptions) {
    this.#options = options
    const { peerSide, metrics, directory } = options
    peerSide.on('received', ({ bytes }) => metrics.countPeerBytes('in', bytes))
    peerSide.on('sent', ({ nodeId, bytes }) => {
      metrics.countPeerBytes('out', bytes)
      const peer = nodeId === undefined ? undefined : directory.byId(nodeId)
      if (peer) peer.bytesTo += bytes
    })
  }

  /** The node is open: it is ready from now on. */
  open(parts: OpenParts): void {
    this.#parts = parts
    // so that the first hello can say what is here
    this.#countBlobs().catch(() => undefined)
  }

  isReady(): boolean {
    return this.#parts !== undefined
  }

  onTransferEnded(snapshot: TransferSnapshot): void {
    const { metrics } = this.#options
    metrics.countTransfer(snapshot.state === 'done' ? 'done' : 'failed')
    metrics.countBlobBytes('peers', snapshot.bytes.peers)
    metrics.countBlobBytes('upstream', snapshot.bytes.upstream)
    if (snapshot.state === 'failed') this.#onFailure(snapshot)
    this.#tell({ type: 'transfer', transfer: snapshot })
  }

  /** A peer sent a wrong piece or blob. */
  onBadPeer(peer: KnownPeer): void {
    this.#options.metrics.countBadPiece()
    this.#tell({ type: 'peer', peer: peerStatus(peer) })
  }

  async status(): Promise<NodeStatus> {
    const { config, directory, peerSide, metrics } = this.#options
    const { ready, fetcher, publishing } = this.#open()
    const blobs = await this.#countBlobs()
    const images = (await this.images()).length
    const usable = directory.usable()
    const banned = directory.all().filter((peer) => directory.isBanned(peer))
    const { dhtNodes, mainline, memoryBytes } = await peerSide.stats()
    const published = await publishing.status()
    metrics.setLevels({
      peers: usable.length,
      bannedPeers: banned.length,
      transfersUnderWay: fetcher.movingCount,
      blobs: blobs.count,
      blobBytes: blobs.bytes,
      images,
      dhtNodes,
    })
    return {
      nodeId: ready.nodeId,
      nodeName: config.nodeName,
      swarmId: ready.swarmId,
      swarm: config.swarm,
      version: VERSION,
      uptimeMs: Date.now() - this.#startedAtMs,
      registry: ready.registry,
      peerPort: ready.peerPort,
      engine: await this.#engine(),
      blobs,
      images,
      peers: usable.length,
      dhtNodes,
      ...(mainline && { mainline }),
      moving: fetcher.movingCount,
      published,
      memoryBytes: process.memoryUsage.rss() + memoryBytes + (published?.memoryBytes ?? 0),
      bannedPeers: banned.map(peerStatus),
      lastFailures: this.#failures,
    }
  }

  /** Images with a name, and those without one that no index above them explains. */
  async images(): Promise<ImageStatus[]> {
    const { catalog } = this.#options
    const namesByDigest = new Map<string, Set<string>>()
    for await (const { name, digest } of catalog.allReferences()) {
      const names = namesByDigest.get(digest) ?? new Set()
      namesByDigest.set(digest, names.add(familiarName(parseReference(name))))
    }
    const images: ImageStatus[] = []
    for await (const image of catalog.images()) {
      const names = [...(namesByDigest.get(image.digest) ?? [])]
      if (names.length === 0 && (await catalog.imagesWithBlob(image.digest)).length > 0) continue
      images.push(await this.#imageStatus(image, names))
    }
    return images.sort((a, b) => ((a.name ?? a.digest) < (b.name ?? b.digest) ? -1 : 1))
  }

  async peers(): Promise<PeerStatus[]> {
    return this.#options.directory.all().map(peerStatus)
  }

  /** Whole blobs here, as they were counted last; undefined until then. */
  get holds(): { blobs: number; bytes: number } | undefined {
    // counted for the next time; a store that cannot be read has its own way to say so
    this.#countBlobs().catch(() => undefined)
    const { count: blobs, bytes, atMs } = this.#blobs
    return atMs === 0 ? undefined : { blobs, bytes }
  }

  async transfers(): Promise<TransferStatus[]> {
    const { fetcher } = this.#open()
    const earlier = await this.#options.catalog.transfers({ limit: MAX_EARLIER_TRANSFERS })
    const before = earlier.filter(({ startedAtMs }) => startedAtMs < this.#startedAtMs)
    return [...fetcher.snapshots(), ...before]
  }

  subscribe(listener: (event: StatusEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async #imageStatus(image: ImageRecord, names: readonly string[]): Promise<ImageStatus> {
    const { store } = this.#options
    let complete = await store.has(image.digest)
    let size = image.size
    let blobs = 1
    for (const blob of image.blobs) {
      const isHere = await store.has(blob.digest)
      // Manifests of other platforms are not missed.
      if (blob.role === 'manifest' && !isHere) continue
      complete &&= isHere
      size += blob.size
      blobs += 1
    }
    const [name] = names
    const { digest, mediaType } = image
    const isPublished = this.#parts?.publishing.has(digest) === true
    const published = isPublished && ({ published: true } as const)
    const about = { names, digest, mediaType, size, blobs, complete }
    return { ...(name !== undefined && { name }), ...about, ...published }
  }

  async #engine(): Promise<EngineStatus | null> {
    const engine = await this.#open().engineImages.describe()
    if (!engine) return null
    const { host, version, store, driver } = engine
    return { host, version, store, driver }
  }

  async #countBlobs(): Promise<{ count: number; bytes: number }> {
    if (Date.now() - this.#blobs.atMs > COUNT_BLOBS_EVERY_MS) {
      const counted = await this.#counting.run('blobs', () => countBlobs(this.#options.store))
      this.#blobs = { ...counted, atMs: Date.now() }
    }
    const { count, bytes } = this.#blobs
    return { count, bytes }
  }

  #onFailure(snapshot: TransferSnapshot): void {
    const code = errorCode(snapshot.code)
    const message = `blob ${snapshot.digest} did not come`
    const failure = {
      atMs: Date.now(),
      code: snapshot.code ?? 'UNEXPECTED',
      message,
      hint: code
        ? new OperationError(code, message).hint
        : 'Read the log of the node for the cause.',
      digest: snapshot.digest,
    }
    this.#failures.unshift(failure)
    this.#failures.length = Math.min(this.#failures.length, MAX_FAILURES)
    this.#tell({ type: 'failure', failure })
  }

  #tell(event: StatusEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  #open(): OpenParts {
    if (!this.#parts) throw new OperationError('NODE_NOT_RUNNING', 'this node is starting')
    return this.#parts
  }
}

async function countBlobs(store: BlobStore): Promise<{ count: number; bytes: number }> {
  let count = 0
  let bytes = 0
  for await (const { size } of store.list()) {
    count += 1
    bytes += size
  }
  return { count, bytes }
}

function peerStatus(peer: KnownPeer): PeerStatus {
  const { nodeId, nodeName, host, peerPort, version, seenAtMs, bytesFrom, bytesTo } = peer
  const { badPieces, holds } = peer
  const isBanned = peer.bannedUntilMs > Date.now()
  return {
    nodeId,
    nodeName,
    version,
    seenAtMs,
    badPieces,
    address: formatHostAndPort({ host, port: peerPort }),
    state: isBanned ? 'banned' : 'member',
    bytes: { from: bytesFrom, to: bytesTo },
    ...(holds && { holds }),
    ...(peer.banReason !== undefined && { reason: peer.banReason }),
  }
}

function errorCode(code: string | undefined): ErrorCode | undefined {
  return ERROR_CODES.find((known) => known === code)
}
