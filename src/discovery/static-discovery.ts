import { lookup } from 'node:dns/promises'

import { LRUCache } from 'lru-cache'

import { messageOf } from '../errors.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { abortable, deadline } from '../support/deadline.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { PeerAddress } from './discovery.ts'
import { PeerChannel } from './peer-channel.ts'

/** A name and the port that all of its addresses share. */
export interface DnsName {
  readonly name: string
  readonly port: number
}

interface StaticDiscoveryOptions {
  readonly peers?: readonly PeerAddress[]
  /** all addresses of these are peers */
  readonly names?: readonly DnsName[]
  readonly log?: Log
  /** every address of a name, of both families */
  readonly resolve?: (name: string) => Promise<readonly string[]>
}

// Names of container networks follow their containers: the answer is not kept for long.
const FRESH_MS = 30_000
const RESOLVE_TIMEOUT_MS = 2_000
const MAX_NAMES = 256
const MAX_ADDRESSES_PER_NAME = 64

/** Peers that the configuration names: they come up at every key, since nobody knows what they hold. */
export class StaticDiscovery {
  readonly #peers: readonly PeerAddress[]
  readonly #names: readonly DnsName[]
  readonly #log: Log
  readonly #resolve: (name: string) => Promise<readonly string[]>
  readonly #flights = new SingleFlight<readonly string[]>()
  readonly #fresh = new LRUCache<string, readonly string[]>({ max: MAX_NAMES, ttl: FRESH_MS })
  readonly #last = new LRUCache<string, readonly string[]>({ max: MAX_NAMES })

  constructor({
    peers = [],
    names = [],
    log = silentLog,
    resolve = resolveAll,
  }: StaticDiscoveryOptions) {
    this.#peers = peers
    this.#names = names
    this.#log = log
    this.#resolve = resolve
  }

  /** The named peers at once, those behind names as the names are answered, within 2 s. */
  async *findPeers(
    options: { signal?: AbortSignal; limit?: number } = {},
  ): AsyncGenerator<PeerAddress> {
    const channel = new PeerChannel()
    for (const peer of this.#peers) channel.push(peer)
    const names = this.#names.map(async ({ name, port }) => {
      for (const host of await this.#addressesOf(name)) channel.push({ host, port })
    })
    void Promise.allSettled(names).then(() => channel.end())
    yield* channel.read(options)
  }

  /** The last known addresses if the name is not answered. */
  async #addressesOf(name: string): Promise<readonly string[]> {
    const fresh = this.#fresh.get(name)
    if (fresh) return fresh
    try {
      const flight = this.#flights.run(name, () => this.#resolve(name))
      const found = await abortable(flight, deadline(RESOLVE_TIMEOUT_MS))
      const addresses = found.slice(0, MAX_ADDRESSES_PER_NAME)
      this.#fresh.set(name, addresses)
      this.#last.set(name, addresses)
      return addresses
    } catch (error) {
      this.#log.debug({ name, error: messageOf(error) }, 'name not resolved')
      return this.#last.get(name) ?? []
    }
  }
}

async function resolveAll(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address)
}
