import type { MainlineStats } from '../discovery/discovery.ts'
import type { EngineDescription } from '../docker/docker-daemon.ts'

/**
 * What a node tells of itself at `/api/v1/…`, on its status page and through the control socket. The field names
 * are part of the interface: other programs read them.
 */
export interface NodeStatus {
  /** 64 hex digits */
  readonly nodeId: string
  readonly nodeName: string
  readonly swarmId: string
  readonly swarm: 'closed' | 'public'
  readonly version: string
  readonly uptimeMs: number
  /** where engines pull from, host:port */
  readonly registry: string
  readonly peerPort: number
  /** null where none is configured or none answers */
  readonly engine: EngineStatus | null
  /** complete ones on disk */
  readonly blobs: { readonly count: number; readonly bytes: number }
  /** how many images are known by name */
  readonly images: number
  /** how many members are in contact */
  readonly peers: number
  /** nodes in the DHT routing table */
  readonly dhtNodes: number
  /** of a closed swarm that meets on mainline */
  readonly mainline?: MainlineStats
  /** how many transfers are under way */
  readonly moving: number
  /** what is shared with everybody beside a closed swarm; null where nothing is */
  readonly published: PublishedStatus | null
  /** resident memory of all its processes; what they share counts once */
  readonly memoryBytes: number
  readonly bannedPeers: readonly PeerStatus[]
  /** newest first */
  readonly lastFailures: readonly FailureStatus[]
}

export type EngineStatus = Pick<EngineDescription, 'version' | 'store' | 'driver'> & {
  /** its address, such as `unix:///var/run/docker.sock` */
  readonly host: string
}

/** This node as everybody sees it. */
export interface PublishedStatus {
  /** 64 hex digits; not the id in the closed swarm; left out where its key cannot be read */
  readonly nodeId?: string
  readonly nodeName?: string
  readonly images: number
  /** undefined while the port cannot be opened: nothing is shared */
  readonly port?: number
  /** nodes in the routing table of its own DHT */
  readonly dhtNodes: number
  /** of its own process, where it has one; part of the sum for the node */
  readonly memoryBytes?: number
  /** why the port is not open */
  readonly problem?: string
}

/** Something that went wrong lately, and what to do. */
export interface FailureStatus {
  readonly atMs: number
  readonly code: string
  readonly message: string
  readonly hint: string
  readonly digest?: string
  readonly reference?: string
}

/** An image as this node holds it. */
export interface ImageStatus {
  /** the name people read first; none for an image that is known by digest alone */
  readonly name?: string
  readonly names: readonly string[]
  /** of the manifest or image index */
  readonly digest: string
  readonly mediaType: string
  /** bytes of all its blobs */
  readonly size: number
  /** how many */
  readonly blobs: number
  /** whether every blob is here */
  readonly complete: boolean
  /** whether everybody may have it; left out where not */
  readonly published?: true
}

/** Another node of the swarm. */
export interface PeerStatus {
  readonly nodeId: string
  readonly nodeName: string
  /** host:port */
  readonly address: string
  readonly version: string
  readonly state: 'member' | 'banned'
  readonly seenAtMs: number
  /** bytes had from it and given to it */
  readonly bytes: { readonly from: number; readonly to: number }
  readonly badPieces: number
  /** whole blobs there, and their bytes, as it said last */
  readonly holds?: { readonly blobs: number; readonly bytes: number }
  /** why it is banned */
  readonly reason?: string
}

/** The transfer of one blob: under way, or ended lately. */
export interface TransferStatus {
  readonly digest: string
  readonly size: number
  /** where its bytes came from */
  readonly bytes: { readonly store: number; readonly peers: number; readonly upstream: number }
  /** from the request to the first byte that was given out */
  readonly firstByteMs: number | null
  /** from the request to the end, or until now */
  readonly ms: number
  readonly state: 'waiting' | 'moving' | 'done' | 'failed'
  readonly startedAtMs: number
  readonly peers: readonly {
    readonly peer: string
    readonly nodeName?: string
    readonly bytes: number
  }[]
  /** of the failure */
  readonly code?: string
}

/** A fact as it comes to the listeners of `/api/v1/events`; its `type` is the name of the event. */
export type StatusEvent =
  | { readonly type: 'transfer'; readonly transfer: TransferStatus }
  | { readonly type: 'peer'; readonly peer: PeerStatus }
  | { readonly type: 'image'; readonly image: ImageStatus }
  | { readonly type: 'failure'; readonly failure: FailureStatus }

/** Where the status comes from. */
export interface StatusSource {
  status(): Promise<NodeStatus>
  images(): Promise<readonly ImageStatus[]>
  peers(): Promise<readonly PeerStatus[]>
  /** under way and lately ended, newest first */
  transfers(): Promise<readonly TransferStatus[]>
  /** @returns what ends the subscription */
  subscribe(listener: (event: StatusEvent) => void): () => void
  /** whether pulls are served at full power: store, catalog and discovery are open */
  isReady(): boolean
}
