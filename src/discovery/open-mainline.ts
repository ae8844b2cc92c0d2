import { isIPv4 } from 'node:net'

import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY, swarmIdOf } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { DhtDiscovery } from './dht-discovery.ts'
import { MAINLINE_TUNING } from './dht-tuning.ts'
import type { PeerAddress } from './discovery.ts'
import type { DiscoverySetting } from './discovery-setting.ts'
import { MainlineMeeting, type MeetingDht } from './mainline-meeting.ts'
import { TAG_BYTES } from './member-list.ts'
import { OuterAddress } from './outer-address.ts'
import { reachableAddresses } from './reachable-addresses.ts'
import { SavedNodes } from './saved-nodes.ts'

interface OpenMainlineOptions {
  readonly swarmKeys: SwarmKeys
  readonly routers: readonly PeerAddress[]
  /** the swarm's own DHT: what is found goes there */
  readonly swarmDht: Pick<DhtDiscovery, 'port' | 'stats' | 'addNode'>
  /** where peers are taken, of either family; everywhere without it */
  readonly host: string | undefined
  /** where the nodes of mainline are kept: `mainline-nodes.json` */
  readonly stateDir: string
  /** hex, at least 16 digits */
  readonly nodeId: string
  /** told of each address of a member that was not known before */
  readonly onHeard?: (address: PeerAddress) => void
  readonly log?: Log
}

/** The well-known ways into mainline. */
export const MAINLINE_ROUTERS: readonly PeerAddress[] = [
  { host: 'router.bittorrent.com', port: 6881 },
  { host: 'dht.transmissionbt.com', port: 6881 },
  { host: 'dht.libtorrent.org', port: 25401 },
]

/** The routers that the settings name: `mainline` the well-known ones, `mainline:host:port` another. Pure. */
export function routersOf(settings: readonly DiscoverySetting[]): PeerAddress[] {
  return settings.flatMap((setting) => {
    if (setting.kind !== 'mainline') return []
    return setting.router ? [setting.router] : MAINLINE_ROUTERS
  })
}

/**
 * Lets members of a closed swarm meet on mainline. Goes on in its own time: nobody waits for it, and where there
 * is no mainline it finds nobody and does no harm.
 */
export function openMainline(options: OpenMainlineOptions): MainlineMeeting {
  const { swarmKeys, swarmDht, host, nodeId, onHeard, log = silentLog } = options
  const { port } = swarmDht
  const keys = new RendezvousKeys(swarmKeys)
  const meeting = new MainlineMeeting({
    keys: swarmKeys,
    isNodesKey: (key) => keys.each(({ nodes }) => nodes).includes(key),
    open: () => openPlainDht(options),
    tag: nodeId.slice(0, 2 * TAG_BYTES),
    addresses: (outerHost) => reachableAddresses({ host, port, outerHost }),
    onLoopback: host?.startsWith('127.') ?? false,
    contactCount: () => swarmDht.stats().dhtNodes,
    onMember: (address, isNew) => {
      // the DHT is IPv4 only
      if (isIPv4(address.host)) swarmDht.addNode(address)
      if (isNew) onHeard?.(address)
    },
    log,
  })
  onOtherKeys(swarmKeys, () => meeting.refresh())
  return meeting
}

/** Calls `act` when other keys count: `change` also tells of members that were met. */
export function onOtherKeys(swarmKeys: SwarmKeys, act: () => void): void {
  const idsOf = ({ current, accepted }: SwarmKeys) => [current, ...accepted].map(swarmIdOf).join()
  let known = idsOf(swarmKeys)
  swarmKeys.on('change', () => {
    const ids = idsOf(swarmKeys)
    if (ids === known) return
    known = ids
    act()
  })
}

/** Plain, on a port of its own and with an id of its own: nothing ties it to the DHT of the swarm. */
async function openPlainDht({
  routers,
  host,
  stateDir,
  log = silentLog,
}: OpenMainlineOptions): Promise<MeetingDht> {
  const swarmKeys = new SwarmKeys(PUBLIC_SWARM_KEY)
  const dht = await DhtDiscovery.open({
    swarmKeys,
    isPublic: true,
    // A closed swarm answers nobody without the key, also here.
    isReadOnly: true,
    // mainline is IPv4
    host: host !== undefined && isIPv4(host) ? host : undefined,
    port: 0,
    contacts: routers,
    savedNodes: new SavedNodes({ stateDir, swarmKeys, fileName: 'mainline-nodes.json' }),
    tuning: MAINLINE_TUNING,
    log,
  })
  const outer = new OuterAddress()
  return {
    items: dht.items((voterHost, said) => outer.onAnswer(voterHost, said)),
    nodeCount: () => dht.stats().dhtNodes,
    outerHost: () => outer.host,
    [Symbol.asyncDispose]: () => dht[Symbol.asyncDispose](),
  }
}
