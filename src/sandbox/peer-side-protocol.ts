import type { TorrentRecord } from '../catalog/torrent-records.ts'
import type { DiscoveryStats, PeerAddress } from '../discovery/discovery.ts'
import type { DiscoverySetting } from '../discovery/discovery-setting.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { SwarmKeyState } from '../membership/swarm-keys.ts'
import type { OpenTicketKey } from '../membership/ticket-book.ts'
import type { Digest } from '../oci/digest.ts'
import type { HeldBlob, NodeHello, WarmOrder, WarmReport } from '../peering/peer-messages.ts'
import type { RemoteCalls } from '../support/remote-calls.ts'
import type { LogLine } from '../telemetry/log.ts'
import type { PeerEndpoint } from '../torrent/peer-exchange.ts'
import type { DialedPeer } from '../torrent/connections.ts'

/** The node, as the peer side asks it. */
export type NodeCalls = RemoteCalls<NodeInterface, PeerSideInterface>

/** The peer side, as the node asks it. */
export type PeerSideCalls = RemoteCalls<PeerSideInterface, NodeInterface>

/** What the peer side is opened with: all that it knows of the node. */
export interface PeerSideSettings {
  readonly swarmKeys: SwarmKeyState
  readonly isPublic: boolean
  /** the private key of the node, PKCS #8 as PEM */
  readonly nodeKey: string
  readonly discovery: readonly DiscoverySetting[]
  readonly host: string | undefined
  /** 0 picks a free one */
  readonly port: number
  /** lines below it are not sent to the node */
  readonly logLevel: string
  /** the folder in which it keeps what it needs for its next start */
  readonly stateDir: string
  readonly uploadBytesPerSecond: number | undefined
  readonly downloadBytesPerSecond: number | undefined
}

/** Somebody to ask. */
export interface Asked {
  readonly peer: DialedPeer
  readonly timeoutMs?: number
}

/** A download, as the peer side is told of it. */
export interface DownloadOrder {
  readonly id: number
  readonly record: TorrentRecord
  /** the file of its partial blob, and the pieces that are in it */
  readonly path: string
  readonly bitfield: Uint8Array
}

/** Who did something that it should not have done. */
export interface Culprit {
  readonly endpoint: PeerEndpoint | undefined
  /** proven; undefined in the public swarm */
  readonly nodeId: string | undefined
}

/** Bytes that went over one connection since the last time. */
export interface Traffic {
  readonly direction: 'received' | 'sent'
  readonly endpoint: PeerEndpoint | undefined
  readonly nodeId: string | undefined
  readonly infoHash: string
  readonly bytes: number
}

/** How its side fares, for the status. */
export interface PeerSideStats extends DiscoveryStats {
  /** of its own process, bytes; 0 where that is the node's */
  readonly memoryBytes: number
}

/** What the node asks of its peer side. */
export interface PeerSideInterface {
  readonly calls: {
    open(settings: PeerSideSettings): { peerPort: number }
    hello(question: Asked & { self: NodeHello }): NodeHello & { reachedAt?: string }
    have(question: Asked & { digests: readonly Digest[] }): readonly HeldBlob[]
    references(question: Asked & { names: readonly string[] }): readonly unknown[]
    metainfo(question: Asked & { digest: Digest }): Uint8Array | undefined
    blob(question: Asked & { digest: Digest; maxBytes?: number }): Uint8Array | undefined
    keys(question: Asked & { orders: object }): unknown
    download(order: DownloadOrder): void
    /** @param end.isKept the blob was proven: where it is whole, it goes on to be given to peers */
    closeDownload(end: { id: number; isKept: boolean }): void
    /** cuts off who is fetching the blob behind an infohash */
    drop(infoHash: string): void
    /** how it fares; what went over connections until now is told before */
    stats(argument: undefined): PeerSideStats
    close(argument: undefined): void
  }
  readonly streams: {
    findPeers(question: { key: RendezvousKey; limit?: number }): PeerAddress
    warm(question: Asked & { order: WarmOrder }): WarmReport
  }
  readonly notes: {
    announce(key: RendezvousKey): void
    withdraw(key: RendezvousKey): void
    ban(ban: { peer: string; untilMs: number }): void
    uploadLimit(bytesPerSecond: number): void
    tickets(tickets: readonly OpenTicketKey[]): void
    swarmKeys(state: SwarmKeyState): void
    /** ends connections that were proven with one of these keys, but those with these nodes */
    endOldConnections(ended: { keys: readonly SwarmKey[]; but: readonly string[] }): void
    dial(to: { id: number; endpoint: DialedPeer }): void
    hangUp(address: PeerAddress): void
    foreignPiece(piece: { id: number; index: number }): void
  }
}

/** What the peer side asks of its node, mostly because a peer asked it. */
export interface NodeInterface {
  readonly calls: {
    hello(question: { caller: NodeHello; address: string }): NodeHello
    have(digests: readonly Digest[]): readonly HeldBlob[]
    /** @param question.swarmKey one that who asks has */
    references(question: {
      names: readonly string[]
      swarmKey: SwarmKey | undefined
    }): readonly unknown[]
    metainfo(question: { digest: Digest; swarmKey: SwarmKey | undefined }): Uint8Array | undefined
    blob(digest: Digest): Uint8Array | undefined
    /** @param asked.nodeId who has proven to be there; undefined in the public swarm */
    keys(asked: { question: unknown; nodeId: string | undefined }): object | undefined
    join(ticketId: string): SwarmKey | undefined
    /** the blob behind an infohash, where strangers may have it */
    load(infoHash: string): { record: TorrentRecord; path: string } | undefined
  }
  readonly streams: {
    warm(order: WarmOrder): WarmReport
  }
  readonly notes: {
    piece(piece: { id: number; index: number }): void
    badPiece(bad: { id: number; index: number; culprit: Culprit }): void
    refused(refusal: { id: number; culprit: Culprit }): void
    failed(failure: { id: number; code: string | undefined; message: string }): void
    connected(peers: { id: number; usable: number; total: number }): void
    traffic(traffic: readonly Traffic[]): void
    /** a node of the swarm makes itself heard on the LAN */
    heard(address: PeerAddress): void
    /** somebody says that the swarm has a newer key */
    outdated(at: PeerAddress): void
    log(line: LogLine): void
  }
}
