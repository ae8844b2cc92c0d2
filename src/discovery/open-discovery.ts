import { isIPv4, isIPv6 } from 'node:net'

import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { CombinedDiscovery } from './combined-discovery.ts'
import { DhtDiscovery } from './dht-discovery.ts'
import { MAINLINE_TUNING } from './dht-tuning.ts'
import type { Discovery, PeerAddress } from './discovery.ts'
import type { DiscoverySetting } from './discovery-setting.ts'
import { LanDiscovery } from './lan-discovery.ts'
import { openMainline, routersOf } from './open-mainline.ts'
import { SavedNodes } from './saved-nodes.ts'
import { DatagramSeal } from './sealed-datagram.ts'
import { StaticDiscovery } from './static-discovery.ts'

interface OpenDiscoveryOptions {
  /** Closed swarm: what is sent is sealed with the current one, what comes may be of any that is accepted. */
  readonly swarmKeys: SwarmKeys
  /** plain BEP 5, as every BitTorrent client speaks it */
  readonly isPublic: boolean
  readonly settings: readonly DiscoverySetting[]
  /** an address to bind; all of them without it, and with `0.0.0.0` or `::` */
  readonly host?: string | undefined
  /** the peer port: this number is bound for UDP, and announced for TCP */
  readonly port: number
  /** where the nodes of the DHT are kept: `dht-nodes.json` */
  readonly stateDir: string
  /** of this node, 64 hex digits */
  readonly nodeId: string
  /** told of each node of the swarm that makes itself heard, on the LAN or on mainline, and was not heard lately */
  readonly onHeard?: (address: PeerAddress) => void
  readonly log?: Log
}

const LOOPBACK = '127.0.0.1'

/**
 * Opens what `--discovery` says. The DHT answers in any case, also with `none`; nobody is asked who is
 * not named in the settings or was met through those. `mainline` is the DHT of the open swarm; members of a
 * closed one only meet there.
 * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE
 */
export async function openDiscovery(options: OpenDiscoveryOptions): Promise<Discovery> {
  const { swarmKeys, isPublic, settings, port, stateDir, log = silentLog } = options
  await using opened = new AsyncDisposableStack()
  const bound = isAnyAddress(options.host) ? undefined : options.host
  const isIPv6Only = bound !== undefined && isIPv6(bound)
  // The DHT is IPv4 only: where nobody is to come in by IPv4, it is for nobody.
  const host = isIPv6Only ? LOOPBACK : bound
  const routers = routersOf(settings)
  const asksNobody = settings.some(({ kind }) => kind === 'none')
  const dht = opened.use(
    await DhtDiscovery.open({
      swarmKeys,
      isPublic,
      host,
      port,
      log,
      contacts: contactsOf(settings, { isPublic }),
      savedNodes: asksNobody ? undefined : new SavedNodes({ stateDir, swarmKeys }),
      ...(isPublic && routers.length > 0 ? { tuning: MAINLINE_TUNING } : {}),
    }),
  )
  const wantsLan = settings.some(({ kind }) => kind === 'lan')
  if (wantsLan && isIPv6Only)
    log.warn({ host: bound }, 'not found on the LAN, as it listens on one IPv6 address')
  const lan =
    wantsLan && !isIPv6Only ? opened.use(await openLan(dht, { ...options, host, log })) : undefined
  const mainline =
    isPublic || routers.length === 0
      ? undefined
      : opened.use(openMainline({ ...options, swarmDht: dht, routers, host: bound }))
  const parts = { dht, lan, mainline, named: namedPeersOf(settings, log) }
  return new CombinedDiscovery(parts, opened.move())
}

/** The nodes that the DHT starts from; hosts may be names. Pure. */
export function contactsOf(
  settings: readonly DiscoverySetting[],
  { isPublic }: { isPublic: boolean },
): PeerAddress[] {
  return settings.flatMap((setting) => {
    if ('address' in setting) return [setting.address]
    if (setting.kind === 'dns') return [{ host: setting.name, port: setting.port }]
    return isPublic ? routersOf([setting]) : []
  })
}

function namedPeersOf(settings: readonly DiscoverySetting[], log: Log): StaticDiscovery {
  return new StaticDiscovery({
    peers: settings.flatMap((setting) => (setting.kind === 'static' ? [setting.address] : [])),
    names: settings.flatMap((setting) => (setting.kind === 'dns' ? [setting] : [])),
    log,
  })
}

async function openLan(
  dht: DhtDiscovery,
  { swarmKeys, isPublic, host, onHeard, log = silentLog }: OpenDiscoveryOptions,
): Promise<LanDiscovery> {
  const keys = new RendezvousKeys(swarmKeys)
  return await LanDiscovery.open({
    nodesKey: keys.nodes,
    isNodesKey: (key) => keys.each(({ nodes }) => nodes).includes(key),
    peerPort: dht.port,
    seal: isPublic ? undefined : new DatagramSeal({ swarmKeys, label: 'dd1/lan\0' }),
    onNode: (address, isNew) => {
      // the DHT is IPv4 only
      if (isIPv4(address.host)) dht.addNode(address)
      if (isNew) onHeard?.(address)
    },
    // Who listens on one address is not found on the others.
    interfaces: host === undefined ? undefined : [host],
    log,
  })
}

function isAnyAddress(host: string | undefined): boolean {
  return host === undefined || host === '' || host === '0.0.0.0' || host === '::'
}
