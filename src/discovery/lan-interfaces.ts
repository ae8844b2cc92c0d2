import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os'

/** A multicast group of BEP 14. */
export interface LanGroup {
  readonly type: 'udp4' | 'udp6'
  readonly address: string
}

/** One way out of this host to its neighbours. */
export interface LanInterface {
  /** as the system takes it for multicast: an IPv4 address, or `::%eth0` */
  readonly name: string
  /** what is sent there comes from one of these */
  readonly addresses: readonly string[]
}

export const LAN_GROUPS: readonly LanGroup[] = [
  { type: 'udp4', address: '239.192.152.143' },
  { type: 'udp6', address: 'ff15::efc0:988f' },
]

const MAX_INTERFACES = 32
// Linux lets a socket into 20 groups: where an engine has made many networks, those come last.
const OF_AN_ENGINE = /^(?:docker|br-|veth|cni|podman|virbr|lxc|cali|flannel)/

/**
 * The interfaces that multicast of this group goes out on, those of container networks last. With no network at
 * all the nodes of one host still meet, by IPv4.
 * @param found of this host by default
 */
export function lanInterfaces(
  { type }: LanGroup,
  found: NodeJS.Dict<NetworkInterfaceInfo[]> = networkInterfaces(),
): LanInterface[] {
  const family = type === 'udp4' ? 'IPv4' : 'IPv6'
  const present = Object.entries(found)
    .sort(([a], [b]) => Number(OF_AN_ENGINE.test(a)) - Number(OF_AN_ENGINE.test(b)))
    .flatMap(([name, addresses = []]) => {
      const own = addresses.filter((each) => each.family === family && !each.internal)
      return interfacesAt(name, { type, addresses: own.map(({ address }) => address) })
    })
  if (present.length === 0 && type === 'udp4') return [loopback]
  return present.slice(0, MAX_INTERFACES)
}

/** The interface with this IPv4 address, and no other. */
export function lanInterfaceAt(address: string): LanInterface {
  return { name: address, addresses: [address] }
}

const loopback = lanInterfaceAt('127.0.0.1')

function interfacesAt(
  name: string,
  { type, addresses }: { type: LanGroup['type']; addresses: readonly string[] },
): LanInterface[] {
  if (type === 'udp4') return addresses.map(lanInterfaceAt)
  return addresses.length === 0 ? [] : [{ name: `::%${name}`, addresses }]
}
