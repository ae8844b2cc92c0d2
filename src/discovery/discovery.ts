import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import { formatHostAndPort } from '../support/host-and-port.ts'

/** Where a node takes connections: its one peer port. */
export interface PeerAddress {
  readonly host: string
  readonly port: number
}

/** `host:port`, the key under which an address is remembered. */
export function formatPeerAddress(address: PeerAddress): string {
  return formatHostAndPort(address)
}

/** Who else is at this rendezvous key? Addresses are hints: whoever answers there has yet to prove itself. */
export interface Discovery extends AsyncDisposable {
  /** Keeps this node's peer port announced at `key` until it is withdrawn. */
  announce(key: RendezvousKey): void
  withdraw(key: RendezvousKey): void
  /**
   * Addresses as answers come in, each once; the first come at once, the end when the lookup is done.
   * Ends early, without an error, when `signal` fires.
   */
  findPeers(
    key: RendezvousKey,
    options?: { signal?: AbortSignal; limit?: number },
  ): AsyncIterable<PeerAddress>
  /** What the status shows. */
  stats(): DiscoveryStats
}

/** A {@link Discovery} for who neither opens nor watches it. */
export type Rendezvous = Pick<Discovery, 'announce' | 'withdraw' | 'findPeers'>

export interface DiscoveryStats {
  /** nodes in the DHT routing table */
  readonly dhtNodes: number
  /** keys that are kept announced */
  readonly announcedKeys: number
  /** datagrams refused: not sealed by a member, said before, malformed, or too many */
  readonly refusedDatagrams: number
  /** of a closed swarm whose members meet there */
  readonly mainline?: MainlineStats
}

/** What this node knows of mainline, where the members of its swarm meet. */
export interface MainlineStats {
  /** nodes of mainline in the routing table */
  readonly nodes: number
  /** the address of this host as nodes of mainline see it */
  readonly outerHost?: string
  /** other members that the meeting item names */
  readonly members: number
  /** whether it names this node */
  readonly isListed: boolean
}
