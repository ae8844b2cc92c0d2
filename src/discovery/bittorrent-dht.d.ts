/** The calls that we use; the package has no types. Underscores are its internals, pinned by the exact version. */
declare module 'bittorrent-dht' {
  import type { EventEmitter } from 'node:events'

  export interface DhtNode {
    id: Buffer
    host: string
    port: number
  }

  export interface DhtPeer {
    host: string
    port: number
  }

  export interface DhtSource {
    address?: string
    host?: string
    port: number
  }

  export interface DhtOptions {
    /** a dgram socket, or what looks like one */
    socket?: EventEmitter
    /** false: no public routers */
    bootstrap?: false
    /** of a query, ms; lost after 1 to 1.25 times this */
    timeout?: number
    /** queries in flight */
    concurrency?: number
    /** lookup tables that are kept for 5 minutes */
    maxTables?: number
    /** BEP 44 items of others */
    maxValues?: number
  }

  interface RoutingTable extends EventEmitter<{ removed: [DhtNode] }> {
    count(): number
    toArray(): DhtNode[]
    closest(id: Buffer, count: number): DhtNode[]
  }

  export interface DhtReply {
    id: Buffer
    values?: Buffer[]
  }

  export interface DhtQuery {
    t: Buffer
    q: Buffer
    a: { info_hash?: Buffer }
  }

  export interface DhtRpc {
    /** into the routing table: whoever asked or answered */
    readonly _addNode: (node: DhtNode) => void
    response(to: DhtSource, query: DhtQuery, reply: DhtReply, nodes?: DhtNode[]): void
  }

  interface PeerRecords {
    add(key: string, compact: Buffer): void
    get(key: string, count?: number): Buffer[]
    destroy(): void
  }

  interface DhtEvents {
    error: [Error]
    warning: [Error]
    listening: []
    node: [DhtNode]
    peer: [DhtPeer, Buffer, DhtSource | null]
  }

  export default class DHT extends EventEmitter<DhtEvents> {
    constructor(options: DhtOptions)
    readonly nodeId: Buffer
    readonly nodes: RoutingTable
    readonly _rpc: DhtRpc
    readonly _tables: { remove(key: string): void }
    readonly _peers: PeerRecords
    listen(): void
    addNode(address: { host: string; port: number }): void
    removeNode(id: Buffer): void
    announce(key: string, port: number, done: (error: Error | null) => void): void
    /** @returns asks no more nodes from the next answer on */
    lookup(key: string, done: (error: Error | null) => void): () => void
    destroy(done: () => void): void
  }
}
