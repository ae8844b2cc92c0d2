/** What ddocker uses of webtorrent 3.0.21 and bittorrent-protocol 5.0.9, underscored members included: pinned versions. */
declare module 'bittorrent-protocol' {
  import type { EventEmitter } from 'node:events'

  interface BitField {
    readonly buffer: Uint8Array
    readonly setAll?: unknown
    get(index: number): boolean
  }

  interface WireRequest {
    readonly piece: number
    readonly offset: number
    readonly length: number
  }

  interface WireExtension {
    onExtendedHandshake?(handshake: Record<string, unknown>): void
    onMessage?(payload: Uint8Array): void
  }

  class Wire extends EventEmitter {
    constructor(type?: string)
    readonly type: string
    /** 40 hex digits, once the handshake was read */
    readonly peerId: string | null
    readonly peerPieces: BitField
    readonly peerChoking: boolean
    readonly peerInterested: boolean
    readonly amChoking: boolean
    readonly hasFast: boolean
    readonly requests: WireRequest[]
    readonly destroyed: boolean
    readonly destroying: boolean
    readonly uploaded: number
    readonly downloaded: number
    readonly peerExtendedHandshake: Record<string, unknown>
    readonly peerExtendedMapping: Record<string, number>
    readonly extendedHandshake: Record<string, unknown>
    readonly extendedMapping: Record<number, string>
    remoteAddress?: string
    remotePort?: number
    downloadSpeed(): number
    uploadSpeed(): number
    use(extension: new (wire: Wire) => WireExtension): void
    request(
      index: number,
      offset: number,
      length: number,
      onBlock: (error: Error | null, block: Uint8Array) => void,
    ): void
    piece(index: number, offset: number, block: Uint8Array): void
    reject(index: number, offset: number, length: number): void
    cancel(index: number, offset: number, length: number): void
    have(index: number): void
    haveAll(): void
    haveNone(): void
    bitfield(bitfield: BitField | Uint8Array): void
    interested(): void
    uninterested(): void
    unchoke(): void
    extended(name: string, payload: Uint8Array): void
    setTimeout(ms: number, unref?: boolean): void
    handshake(infoHash: string, peerId: string, extensions?: object): void
    push(bytes: Uint8Array | null): boolean
    destroy(): void
    end(data?: unknown): Wire
    _parserSize: number
    _parser: (message: Uint8Array) => void
    _handshakeSent?: boolean
    _finished: boolean
    _onMessageLength(buffer: Uint8Array): void
    _onMessage(buffer: Uint8Array): void
    _onExtended(extension: number, payload: Uint8Array): void
    _onRequest(index: number, offset: number, length: number): void
    _onCancel(index: number, offset: number, length: number): void
    _debug(...details: unknown[]): void
  }
  export default Wire
}

declare module 'webtorrent/lib/peer.js' {
  import type { EventEmitter } from 'node:events'
  import type { Socket } from 'node:net'
  import type Wire from 'bittorrent-protocol'
  import type { Torrent } from 'webtorrent'

  class Peer extends EventEmitter {
    conn: Socket | null
    readonly wire: Wire | null
    addr: string | null
    readonly destroyed: boolean
    onConnect(): void
    destroy(error?: Error): void
    setThrottlePipes(): void
    static createTCPOutgoingPeer(
      address: string,
      torrent: Torrent,
      throttleGroups: unknown,
      source: string,
      secure: number,
    ): Peer
  }
  export default Peer
}

declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events'
  import type { Server, Socket } from 'node:net'
  import type Wire from 'bittorrent-protocol'
  import type { BitField } from 'bittorrent-protocol'
  import type Peer from 'webtorrent/lib/peer.js'

  interface ChunkStore {
    readonly chunkLength: number
    get(
      index: number,
      options: { offset?: number; length?: number } | null | undefined,
      onBytes: (error: Error | null, bytes?: Uint8Array) => void,
    ): void
    put(index: number, bytes: Uint8Array, onDone: (error: Error | null) => void): void
    close(onDone: (error: Error | null) => void): void
    destroy(onDone: (error: Error | null) => void): void
  }

  interface Torrent extends EventEmitter {
    readonly infoHash: string
    readonly wires: Wire[]
    readonly bitfield: BitField
    readonly destroyed: boolean
    readonly ready: boolean
    discovery: unknown
    destroy(onDone?: () => void): void
    readonly _peers: Map<string, Peer> | null
    _rarityMap: { destroy(): void }
    _registerPeer(peer: Peer): void
    _markVerified(index: number): void
    _checkDone(): void
    _update: () => void
    _updateWireInterest: (wire: Wire) => void
    _updateInterest: () => void
    _rechoke: () => void
    _startDiscovery: () => void
    _gcSelections: () => void
    _verifyPieces: (onDone: (error: Error | null) => void) => void
    _debug: () => void
  }

  class WebTorrent extends EventEmitter {
    constructor(options: Record<string, unknown>)
    readonly peerId: string
    readonly throttleGroups: unknown
    readonly destroyed: boolean
    readonly _connPool: {
      readonly tcpServer: Server
      _onConnection(socket: Socket, type: 'tcp'): void
    }
    get: (id: unknown) => Promise<Torrent | null>
    add(torrent: Uint8Array, options: Record<string, unknown>): Torrent
    destroy(onDone: (error?: Error) => void): void
  }
  export type { ChunkStore, Torrent }
  export default WebTorrent
}
