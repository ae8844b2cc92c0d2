import { createHash } from 'node:crypto'
import { setImmediate, setTimeout } from 'node:timers/promises'

import { rendezvousAtInfoHash, type RendezvousKey } from '../membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY, type SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { DhtDiscovery } from '../discovery/dht-discovery.ts'
import type { DhtTuning } from '../discovery/dht-tuning.ts'
import type { Discovery, PeerAddress } from '../discovery/discovery.ts'
import type { Log } from '../telemetry/log.ts'

/** For tests: a swarm key that is the same in every run. */
export function testSwarmKey(name: string): SwarmKey {
  return createHash('sha256').update(name).digest() as SwarmKey
}

/** For tests: the keys of a swarm, the current one first. */
export function testSwarmKeys(name: string, ...others: string[]): SwarmKeys {
  return new SwarmKeys(testSwarmKey(name), ...others.map(testSwarmKey))
}

/** For tests: some place to meet. */
export function testKey(name: string): RendezvousKey {
  return rendezvousAtInfoHash(createHash('sha1').update(name).digest('hex'))
}

/** For tests: reads a whole lookup. */
export async function collect(
  discovery: Discovery,
  key: RendezvousKey,
  options?: { signal?: AbortSignal; limit?: number },
): Promise<PeerAddress[]> {
  return await Array.fromAsync(discovery.findPeers(key, options))
}

/** For tests: a DHT on loopback, closed with `await using`. */
export class Testnet implements AsyncDisposable {
  readonly nodes: DhtDiscovery[] = []
  readonly #options: TestnetOptions

  constructor(options: TestnetOptions = {}) {
    this.#options = options
  }

  /** `count` nodes; all but the first start from the first. */
  static async open(count: number, options: TestnetOptions = {}): Promise<Testnet> {
    const net = new Testnet(options)
    const first = await net.add()
    for (let index = 1; index < count; index += 1) await net.add([first.address])
    return net
  }

  /** One more node. */
  async add(contacts: readonly PeerAddress[] = []): Promise<TestnetNode> {
    const { isPublic = false, swarmKey, log, tuning = {} } = this.#options
    const node = await DhtDiscovery.open({
      swarmKeys: new SwarmKeys(swarmKey ?? (isPublic ? PUBLIC_SWARM_KEY : testSwarmKey('testnet'))),
      isPublic,
      host: '127.0.0.1',
      port: 0,
      contacts,
      ...(log ? { log } : {}),
      tuning,
    })
    this.nodes.push(node)
    return { node, address: addressOf(node) }
  }

  at(index: number): DhtDiscovery {
    const node = this.nodes[index]
    if (!node) throw new RangeError(`a testnet of ${this.nodes.length} nodes has no ${index}`)
    return node
  }

  /** Everybody has everybody in its table (small nets only). */
  async met(): Promise<void> {
    await until(() => this.nodes.every((node) => node.stats().dhtNodes === this.nodes.length - 1))
  }

  /** Everybody has announced what it keeps. */
  async settled(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.announced()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map((node) => node[Symbol.asyncDispose]()))
  }
}

interface TestnetOptions {
  isPublic?: boolean
  swarmKey?: SwarmKey
  log?: Log
  tuning?: Partial<DhtTuning>
}

interface TestnetNode {
  node: DhtDiscovery
  address: PeerAddress
}

export function addressOf(node: DhtDiscovery): PeerAddress {
  return { host: '127.0.0.1', port: node.port }
}

/**
 * For tests: looks again every few milliseconds, for what other nodes do in their own time.
 * @param options.immediately without a timer: where the test moves the clock
 */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  { immediately = false }: { immediately?: boolean } = {},
): Promise<void> {
  const signal = AbortSignal.timeout(10_000)
  while (!(await isTrue())) {
    signal.throwIfAborted()
    await (immediately ? setImmediate() : setTimeout(5))
  }
}
