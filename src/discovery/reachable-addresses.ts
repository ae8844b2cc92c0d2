import { isIPv4 } from 'node:net'
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os'

import { formatPeerAddress, type PeerAddress } from './discovery.ts'
import { isDiallable, MAX_ADDRESSES_PER_MEMBER } from './member-list.ts'

type Interfaces = Readonly<Record<string, NetworkInterfaceInfo[] | undefined>>

interface ReachableOptions {
  /** the address that is bound; all of this host without it */
  readonly host?: string | undefined
  /** the peer port, which a router that forwards it is taken to keep */
  readonly port: number
  /** as others see this host */
  readonly outerHost?: string | undefined
  readonly interfaces?: () => Interfaces
}

const MAX_IPV4 = 2
const MAX_IPV6 = 2
// Between the containers and virtual machines of one host: the same addresses are on many hosts.
const INNER_INTERFACE = /^(?:docker|br-|veth|virbr|cni|flannel|podman|lxc|lxd|kube)/

/** Where members at other places may reach this node: as others see it first, then by its own addresses. */
export function reachableAddresses(options: ReachableOptions): PeerAddress[] {
  const { host, port, outerHost, interfaces = networkInterfaces } = options
  const own = host === undefined ? ownHosts(interfaces()) : [host]
  const onLoopback = host?.startsWith('127.') ?? false
  // What mainline sees is IPv4: nobody listens there who listens on one IPv6 address.
  const isSeen = outerHost !== undefined && (host === undefined || isIPv4(host))
  const hosts = isSeen ? [outerHost, ...own] : own
  const byName = new Map<string, PeerAddress>()
  for (const each of hosts) {
    const address = { host: each, port }
    if (isDiallable(address, { onLoopback })) byName.set(formatPeerAddress(address), address)
  }
  return [...byName.values()].slice(0, MAX_ADDRESSES_PER_MEMBER)
}

function ownHosts(interfaces: Interfaces): string[] {
  const hosts = Object.entries(interfaces)
    .flatMap(([name, addresses = []]) => (INNER_INTERFACE.test(name) ? [] : addresses))
    .map(({ address }) => address)
    .filter((address) => isDiallable({ host: address, port: 1 }))
  const [v4, v6] = [hosts.filter(isIPv4), hosts.filter((host) => !isIPv4(host))]
  // The caller takes the first few of each kind, not one kind alone.
  return [...v4.slice(0, MAX_IPV4), ...v6.slice(0, MAX_IPV6), ...v4.slice(MAX_IPV4)]
}
