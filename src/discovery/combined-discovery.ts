import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import type { DhtDiscovery } from './dht-discovery.ts'
import type { Discovery, DiscoveryStats, PeerAddress } from './discovery.ts'
import type { LanDiscovery } from './lan-discovery.ts'
import type { MainlineMeeting } from './mainline-meeting.ts'
import { PeerChannel } from './peer-channel.ts'
import type { StaticDiscovery } from './static-discovery.ts'

interface Parts {
  readonly dht: DhtDiscovery
  readonly named: StaticDiscovery
  readonly lan: LanDiscovery | undefined
  readonly mainline?: MainlineMeeting | undefined
}

/** All ways of finding peers as one; every address comes once, from whoever has it first. */
export class CombinedDiscovery implements Discovery {
  readonly #parts: Parts
  readonly #owned: AsyncDisposable
  #closed: Promise<void> | undefined

  /** @param owned is closed with it */
  constructor(parts: Parts, owned: AsyncDisposable) {
    this.#parts = parts
    this.#owned = owned
  }

  announce(key: RendezvousKey): void {
    this.#parts.dht.announce(key)
  }

  withdraw(key: RendezvousKey): void {
    this.#parts.dht.withdraw(key)
  }

  async *findPeers(
    key: RendezvousKey,
    options: { signal?: AbortSignal; limit?: number } = {},
  ): AsyncGenerator<PeerAddress> {
    const { dht, named, lan, mainline } = this.#parts
    if (this.#closed) return
    const channel = new PeerChannel()
    const done = new AbortController()
    const { signal } = done
    for (const address of lan?.peersAt(key) ?? []) channel.push(address)
    const sources = [named.findPeers({ signal }), dht.findPeers(key, { signal })]
    if (mainline) sources.push(mainline.findPeers(key, { signal }))
    void Promise.allSettled(sources.map((source) => pump(source, channel))).then(() =>
      channel.end(),
    )
    try {
      yield* channel.read(options)
    } finally {
      done.abort()
    }
  }

  stats(): DiscoveryStats {
    const { dht, mainline } = this.#parts
    return { ...dht.stats(), ...(mainline && { mainline: mainline.stats() }) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= Promise.resolve(this.#owned[Symbol.asyncDispose]())
    await this.#closed
  }
}

async function pump(source: AsyncIterable<PeerAddress>, channel: PeerChannel): Promise<void> {
  for await (const address of source) channel.push(address)
}
