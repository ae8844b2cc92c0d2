import { networkInterfaces } from 'node:os'

import type { InviteRequest, InviteResult, NodeOperations } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { formatInvite, formatTicket, isTicketAddress } from '../membership/invite.ts'
import { swarmIdOf } from '../membership/swarm-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { TicketBook } from '../membership/ticket-book.ts'

/** What lets a running node of a closed swarm honour invites. */
interface Reception {
  readonly tickets: TicketBook
  /** where peers reach it; undefined for every address of the host */
  readonly host: string | undefined
  readonly peerPort: number
}

const DEFAULT_LIFETIME_MS = 24 * 3_600_000
const MAX_ADDRESSES = 4

/** What the swarm's key says of it, and who may have it. @param reception undefined where no node takes connections */
export function swarmOperations(
  swarmKeys: SwarmKeys,
  reception?: Reception,
): Pick<NodeOperations, 'swarmId' | 'swarmInvite'> {
  return {
    swarmId: async () => ({ swarmId: swarmIdOf(swarmKeys.newest) }),
    swarmInvite: async (request) =>
      isForEver(request)
        ? { invite: formatInvite(swarmKeys.newest) }
        : issueTicket(request, reception ?? refuse()),
  }
}

function isForEver({ lifetimeMs, once, addresses }: InviteRequest): boolean {
  return lifetimeMs === undefined && once !== true && addresses === undefined
}

async function issueTicket(
  { lifetimeMs = DEFAULT_LIFETIME_MS, once = false, addresses: given }: InviteRequest,
  { tickets, host, peerPort }: Reception,
): Promise<InviteResult> {
  const addresses = given ?? addressesOf(host, peerPort)
  const unfit = addresses.find((address) => !isTicketAddress(address))
  if (unfit !== undefined) {
    throw new OperationError('CONFIG_INVALID', `address: wanted host:port, found "${unfit}"`)
  }
  const expiresAtMs = Date.now() + lifetimeMs
  const ticket = await tickets.issue({ expiresAtMs, isOnce: once, addresses })
  return { invite: formatTicket(ticket), expiresAtMs, once, addresses }
}

/** Where others on the networks of this host reach it, IPv4 first. */
function addressesOf(host: string | undefined, port: number): string[] {
  const hosts = host === undefined ? ownAddresses() : [host]
  return hosts
    .slice(0, MAX_ADDRESSES)
    .map((each) => (each.includes(':') ? `[${each}]:${port}` : `${each}:${port}`))
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const outer = all.filter(({ internal, address }) => !internal && !/^fe80/i.test(address))
  const [v4, v6] = ['IPv4', 'IPv6'].map((family) =>
    outer.filter((each) => each.family === family).map(({ address }) => address),
  )
  const found = [...(v4 ?? []), ...(v6 ?? [])]
  return found.length > 0 ? found : ['127.0.0.1']
}

/** What is asked of a swarm whose key everybody has. */
export function refuseKeyChanges(): Pick<NodeOperations, 'swarmRotate' | 'swarmRevoke'> {
  const refuseChange = async (): Promise<never> => {
    throw new OperationError(
      'CONFIG_INVALID',
      'swarm: wanted closed in order to change its key, found public, whose key everybody has',
    )
  }
  return { swarmRotate: refuseChange, swarmRevoke: refuseChange }
}

function refuse(): never {
  throw new OperationError(
    'NODE_NOT_RUNNING',
    'an invite that ends is honoured by the node that gave it: wanted a running node of a closed swarm',
  )
}
