import { BlockList, isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'

import type { PeerAddress } from './discovery.ts'

/** One IPv4 address of this host, with its network. */
export interface OwnInterface {
  readonly address: string
  /** `address/prefix length` */
  readonly cidr: string
}

interface OwnAddressesOptions {
  readonly port: number
  /** the address that is bound; all of this host without it */
  readonly host?: string | undefined
  readonly interfaces?: () => readonly OwnInterface[]
  readonly now?: () => number
}

// A laptop changes its networks; a flood of misled datagrams does not read them each time.
const READ_AGAIN_MS = 1_000

/**
 * Tells whether a datagram was meant for this node by where it was sent to. Behind a translator of addresses
 * (a router, the engine's published ports) a node is sent to under addresses that it does not know, so only
 * what plainly belongs to another is refused.
 */
export class OwnAddresses {
  readonly #options: OwnAddressesOptions
  readonly #now: () => number
  #hosts = new Set<string>()
  #networks: readonly BlockList[] = []
  #readAtMs = Number.NEGATIVE_INFINITY

  constructor(options: OwnAddressesOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** Whether it is one of this host, with the port of this node. */
  has({ host, port }: PeerAddress): boolean {
    if (port !== this.#options.port) return false
    if (host === this.#options.host || host.startsWith('127.') || this.#hosts.has(host)) return true
    this.#read()
    return this.#hosts.has(host)
  }

  /** Whether both are on one network of this host: nothing between them translates. */
  areOnOneNetwork(a: PeerAddress, b: PeerAddress): boolean {
    this.#read()
    return this.#networks.some((network) => network.check(a.host) && network.check(b.host))
  }

  #read(): void {
    const nowMs = this.#now()
    if (nowMs - this.#readAtMs < READ_AGAIN_MS) return
    this.#readAtMs = nowMs
    const found = (this.#options.interfaces ?? ownInterfaces)()
    this.#hosts = new Set(found.map(({ address }) => address))
    this.#networks = found.map(networkOf)
  }
}

function networkOf({ address, cidr }: OwnInterface): BlockList {
  const network = new BlockList()
  network.addSubnet(address, Number(cidr.split('/')[1] ?? 32), 'ipv4')
  return network
}

function ownInterfaces(): OwnInterface[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses = []) => addresses)
    .filter(({ address }) => isIPv4(address))
    .map(({ address, cidr }) => ({ address, cidr: cidr ?? `${address}/32` }))
}
