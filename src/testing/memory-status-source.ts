import { digestOf } from '../oci/digest.ts'
import type {
  ImageStatus,
  NodeStatus,
  PeerStatus,
  StatusEvent,
  StatusSource,
  TransferStatus,
} from '../status/node-status.ts'

const HOUR_MS = 3_600_000
const MIB = 2 ** 20

/** A status source whose answers a test sets and whose events it sends. */
export class MemoryStatusSource implements StatusSource {
  isUp = true
  current: NodeStatus = sampleStatus()
  heldImages: readonly ImageStatus[] = []
  knownPeers: readonly PeerStatus[] = []
  recentTransfers: readonly TransferStatus[] = []
  /** thrown by every question, where set */
  failure: Error | undefined
  readonly #listeners = new Set<(event: StatusEvent) => void>()

  get listenerCount(): number {
    return this.#listeners.size
  }

  send(event: StatusEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  status = (): Promise<NodeStatus> => this.#answer(this.current)
  images = (): Promise<readonly ImageStatus[]> => this.#answer(this.heldImages)
  peers = (): Promise<readonly PeerStatus[]> => this.#answer(this.knownPeers)
  transfers = (): Promise<readonly TransferStatus[]> => this.#answer(this.recentTransfers)

  subscribe(listener: (event: StatusEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  isReady(): boolean {
    return this.isUp
  }

  async #answer<Answer>(answer: Answer): Promise<Answer> {
    if (this.failure) throw this.failure
    return answer
  }
}

/** A node that holds nothing yet. */
export function sampleStatus(given: Partial<NodeStatus> = {}): NodeStatus {
  return {
    nodeId: 'ab'.repeat(32),
    nodeName: 'desk',
    swarmId: 'cd'.repeat(10),
    swarm: 'closed',
    version: '0.1.0',
    uptimeMs: 3 * HOUR_MS + 125_000,
    registry: '127.0.0.1:5151',
    peerPort: 6881,
    engine: null,
    blobs: { count: 0, bytes: 0 },
    images: 0,
    peers: 0,
    dhtNodes: 0,
    moving: 0,
    published: null,
    memoryBytes: 96 * MIB,
    bannedPeers: [],
    lastFailures: [],
    ...given,
  }
}

/** The transfer of a blob of 64 MiB, waiting unless told otherwise. */
export function sampleTransfer(given: Partial<TransferStatus> = {}): TransferStatus {
  return {
    digest: digestOf('layer'),
    size: 64 * MIB,
    bytes: { store: 0, peers: 0, upstream: 0 },
    firstByteMs: null,
    ms: 1500,
    state: 'waiting',
    startedAtMs: 1_700_000_000_000,
    peers: [],
    ...given,
  }
}

/** A member of the swarm. */
export function samplePeer(given: Partial<PeerStatus> = {}): PeerStatus {
  return {
    nodeId: 'ef'.repeat(32),
    nodeName: 'shelf',
    address: '10.0.0.7:6881',
    version: '0.1.0',
    state: 'member',
    seenAtMs: 1_700_000_000_000,
    bytes: { from: 10 * MIB, to: 3 * MIB },
    badPieces: 0,
    ...given,
  }
}

/** An image that is whole. */
export function sampleImage(given: Partial<ImageStatus> = {}): ImageStatus {
  return {
    name: 'app:1',
    names: ['app:1'],
    digest: digestOf('manifest'),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: 30 * MIB,
    blobs: 4,
    complete: true,
    ...given,
  }
}
