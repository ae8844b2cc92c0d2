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

  /** What a node says to a question that it understood. */
  export interface DhtAnswer {
    /** the address that it was asked from (BEP 42) */
    ip?: unknown
    /** seq, v, k and sig are those of an item (BEP 44) */
    r: { id: Buffer; token?: Buffer; seq?: number; v?: Buffer; k?: Buffer; sig?: Buffer }
  }

  interface DhtQuestion {
    q: string
    a: Record<string, Buffer | number>
  }

  export interface DhtRpc {
    readonly id: Buffer
    /**
     * Asks the nodes around `target`, nearer and nearer.
     * @param visit sees each answer; false ends it with those that are under way
     */
    closest(
      target: Buffer,
      question: DhtQuestion,
      visit: (answer: DhtAnswer, from: { address: string; port: number }) => boolean,
      done: (error: Error | null, answerCount: number) => void,
    ): void
    /** @param done gets an error with a number as `code` from a node that refuses, or another if none answers */
    query(
      node: { host: string; port: number },
      question: DhtQuestion,
      done: (error: (Error & { code?: unknown }) | null) => void,
    ): void
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
