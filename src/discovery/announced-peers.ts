interface Bounds {
  readonly maxAgeMs: number
  /** in all */
  readonly maxPeers: number
  readonly maxPeersPerKey: number
  /** of one host at one key: in the open swarm one host may announce any number of ports */
  readonly maxPeersPerHost: number
}

type PeersOfKey = Map<string, { readonly compact: Buffer; readonly expiresAtMs: number }>

/**
 * What others announced to this node: takes the place of bittorrent-dht's record cache, which knows no
 * bound per key and by default no age. A key is full until its records expire; over all, the key that
 * was announced least recently goes first.
 */
export class AnnouncedPeers {
  readonly #bounds: Bounds
  readonly #now: () => number
  // Both are in the order of the last announce.
  readonly #peersByKey = new Map<string, PeersOfKey>()
  #size = 0

  constructor(bounds: Bounds, now: () => number = () => performance.now()) {
    this.#bounds = bounds
    this.#now = now
  }

  get size(): number {
    return this.#size
  }

  /** @param compact IPv4 address and port, 6 bytes (BEP 5, compact peer info) */
  add(key: string, compact: Buffer): void {
    const peers = this.#freshPeers(key) ?? new Map()
    const name = compact.toString('hex')
    if (peers.delete(name)) this.#size -= 1
    else if (!this.#hasRoom(peers, name)) return
    peers.set(name, { compact, expiresAtMs: this.#now() + this.#bounds.maxAgeMs })
    this.#size += 1
    this.#peersByKey.delete(key)
    this.#peersByKey.set(key, peers)
    this.#dropOldest()
  }

  /** At most `count` peers of a key, a random choice in a random order. */
  get(key: string, count: number = this.#bounds.maxPeersPerKey): Buffer[] {
    const found = [...(this.#freshPeers(key)?.values() ?? [])].map(({ compact }) => compact)
    return sample(found, Math.min(count, found.length))
  }

  clear(): void {
    this.#peersByKey.clear()
    this.#size = 0
  }

  /** Called by bittorrent-dht when it is destroyed. */
  destroy(): void {
    this.clear()
  }

  #freshPeers(key: string): PeersOfKey | undefined {
    const peers = this.#peersByKey.get(key)
    if (!peers) return undefined
    for (const [name, { expiresAtMs }] of peers) {
      if (expiresAtMs > this.#now()) return peers
      peers.delete(name)
      this.#size -= 1
    }
    this.#peersByKey.delete(key)
    return undefined
  }

  #hasRoom(peers: PeersOfKey, name: string): boolean {
    const { maxPeersPerKey, maxPeersPerHost } = this.#bounds
    if (peers.size >= maxPeersPerKey) return false
    if (peers.size < maxPeersPerHost) return true
    const host = name.slice(0, 8)
    const ofHost = [...peers.keys()].filter((other) => other.startsWith(host))
    return ofHost.length < maxPeersPerHost
  }

  #dropOldest(): void {
    for (const key of this.#peersByKey.keys()) {
      const peers = this.#freshPeers(key)
      if (!peers) continue
      if (this.#size <= this.#bounds.maxPeers) return
      this.#peersByKey.delete(key)
      this.#size -= peers.size
    }
  }
}

/** Fisher–Yates, only as far as needed. */
function sample<Value>(values: Value[], count: number): Value[] {
  for (let index = 0; index < count; index += 1) {
    const other = index + Math.floor(Math.random() * (values.length - index))
    ;[values[index], values[other]] = [values[other] as Value, values[index] as Value]
  }
  return values.slice(0, count)
}
