import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Where the bytes of a blob came from. */
export type ByteSource = 'store' | 'peers' | 'upstream'
/** How the transfer of a blob ended. */
export type TransferOutcome = 'done' | 'failed' | 'cancelled'

/** What is measured when somebody asks, not counted as it happens. */
export interface Levels {
  readonly peers: number
  readonly bannedPeers: number
  readonly transfersUnderWay: number
  readonly blobs: number
  readonly blobBytes: number
  readonly images: number
  readonly dhtNodes: number
}

const BYTE_SOURCES: readonly ByteSource[] = ['store', 'peers', 'upstream']
const OUTCOMES: readonly TransferOutcome[] = ['done', 'failed', 'cancelled']
// A manifest takes milliseconds, a large layer minutes.
const REQUEST_SECONDS = [0.005, 0.025, 0.1, 0.5, 1, 3, 10, 30, 120, 600]

/**
 * The numbers of one node, in the text format of Prometheus. Every instance has its own registry, so that two
 * nodes in one process do not add up. Labels take few values: never a digest, a peer or a name.
 */
export class Metrics {
  readonly #registry = new Registry()
  readonly #blobBytes = this.#counter('blob_bytes_total', 'Bytes of blobs by where from', 'source')
  readonly #peerBytes = this.#counter('peer_bytes_total', 'Bytes to and from peers', 'direction')
  readonly #transfers = this.#counter('transfers_total', 'Ended transfers of blobs', 'outcome')
  readonly #badPieces = this.#counter('bad_pieces_total', 'Pieces that failed their check')
  readonly #requests = new Histogram({
    name: 'ddocker_http_request_seconds',
    help: 'Time until the last byte of a response',
    labelNames: ['route', 'status'] as const,
    buckets: REQUEST_SECONDS,
    registers: [this.#registry],
  })
  readonly #levels: Readonly<Record<keyof Levels, Gauge>> = {
    peers: this.#gauge('peers', 'Members of the swarm in contact'),
    bannedPeers: this.#gauge('banned_peers', 'Peers that are not spoken to any more'),
    transfersUnderWay: this.#gauge('transfers_under_way', 'Blobs that are moving or waiting'),
    blobs: this.#gauge('blobs', 'Complete blobs on disk'),
    blobBytes: this.#gauge('blob_store_bytes', 'Bytes of complete blobs on disk'),
    images: this.#gauge('images', 'Images known by name'),
    dhtNodes: this.#gauge('dht_nodes', 'Nodes in the DHT routing table'),
  }

  /** @param options.withProcess false leaves out memory, CPU and event loop of the process */
  constructor({ withProcess = true }: { withProcess?: boolean } = {}) {
    if (withProcess) collectDefaultMetrics({ register: this.#registry })
    // A series that is there from the start can be told from one that was lost.
    this.#badPieces.inc(0)
    for (const source of BYTE_SOURCES) this.#blobBytes.inc({ source }, 0)
    for (const direction of ['in', 'out']) this.#peerBytes.inc({ direction }, 0)
    for (const outcome of OUTCOMES) this.#transfers.inc({ outcome }, 0)
  }

  /** Bytes of a blob that were had from `source`. */
  countBlobBytes(source: ByteSource, bytes: number): void {
    this.#blobBytes.inc({ source }, bytes)
  }

  countPeerBytes(direction: 'in' | 'out', bytes: number): void {
    this.#peerBytes.inc({ direction }, bytes)
  }

  countTransfer(outcome: TransferOutcome): void {
    this.#transfers.inc({ outcome })
  }

  countBadPiece(): void {
    this.#badPieces.inc()
  }

  observeRequest(request: { route: string; status: number; seconds: number }): void {
    const status = `${Math.floor(request.status / 100)}xx`
    this.#requests.observe({ route: request.route, status }, request.seconds)
  }

  setLevels(levels: Levels): void {
    for (const name of Object.keys(this.#levels) as (keyof Levels)[]) {
      this.#levels[name].set(levels[name])
    }
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }

  #counter<Label extends string = never>(name: string, help: string, label?: Label) {
    return new Counter<Label>({
      name: `ddocker_${name}`,
      help,
      labelNames: label === undefined ? [] : [label],
      registers: [this.#registry],
    })
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `ddocker_${name}`, help, registers: [this.#registry] })
  }
}
