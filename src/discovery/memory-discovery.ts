import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import {
  formatPeerAddress,
  type Discovery,
  type DiscoveryStats,
  type PeerAddress,
} from './discovery.ts'

/** The place where the nodes of a test meet, in the memory of one process. */
export class MemoryRendezvous {
  readonly #peersByKey = new Map<RendezvousKey, Map<string, PeerAddress>>()

  add(key: RendezvousKey, address: PeerAddress): void {
    const peers = this.#peersByKey.get(key) ?? new Map<string, PeerAddress>()
    this.#peersByKey.set(key, peers.set(formatPeerAddress(address), address))
  }

  remove(key: RendezvousKey, address: PeerAddress): void {
    this.#peersByKey.get(key)?.delete(formatPeerAddress(address))
  }

  /** In the order in which they came. */
  peersAt(key: RendezvousKey): PeerAddress[] {
    return [...(this.#peersByKey.get(key)?.values() ?? [])]
  }
}

/** Discovery without a network: the twin of DhtDiscovery for tests of other rooms. */
export class MemoryDiscovery implements Discovery {
  readonly #rendezvous: MemoryRendezvous
  readonly #address: PeerAddress
  readonly #keys = new Set<RendezvousKey>()
  #isClosed = false

  /** @param options.address under which this node is found */
  constructor({ rendezvous, address }: { rendezvous: MemoryRendezvous; address: PeerAddress }) {
    this.#rendezvous = rendezvous
    this.#address = address
  }

  announce(key: RendezvousKey): void {
    if (this.#isClosed) return
    this.#keys.add(key)
    this.#rendezvous.add(key, this.#address)
  }

  withdraw(key: RendezvousKey): void {
    this.#keys.delete(key)
    this.#rendezvous.remove(key, this.#address)
  }

  async *findPeers(
    key: RendezvousKey,
    { signal, limit = Infinity }: { signal?: AbortSignal; limit?: number } = {},
  ): AsyncGenerator<PeerAddress> {
    let foundCount = 0
    for (const address of this.#rendezvous.peersAt(key)) {
      // Answers come one by one, as from a network.
      await Promise.resolve()
      if (this.#isClosed || signal?.aborted || foundCount >= limit) return
      foundCount += 1
      yield address
    }
  }

  stats(): DiscoveryStats {
    return { dhtNodes: 0, announcedKeys: this.#keys.size, refusedDatagrams: 0 }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    for (const key of this.#keys) this.withdraw(key)
    await Promise.resolve()
  }
}
