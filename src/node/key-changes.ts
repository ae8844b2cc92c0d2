import type { Catalog } from '../catalog/catalog.ts'
import type { KeyChangeResult, NodeOperations } from '../control/control-protocol.ts'
import type { PeerAddress } from '../discovery/discovery.ts'
import type { DiscoverySetting } from '../discovery/discovery-setting.ts'
import { messageOf, OperationError } from '../errors.ts'
import type { KeyKeeper } from '../membership/key-keeper.ts'
import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { swarmIdOf, type SwarmKey } from '../membership/swarm-key.ts'
import type { TicketBook } from '../membership/ticket-book.ts'
import type { PeerDirectory } from '../peering/peer-directory.ts'
import type { PeerSide } from '../sandbox/peer-side.ts'
import type { Log } from '../telemetry/log.ts'
import type { ImageRegister } from '../transfer/image-register.ts'
import type { PeerFinder } from '../transfer/peer-finder.ts'
import { KeyCourier, type KeyRecipient } from './key-courier.ts'

/** What has to do with keys at a running node of a closed swarm. */
export interface KeyChangeParts {
  readonly keeper: KeyKeeper
  readonly directory: PeerDirectory
  readonly finder: Pick<PeerFinder, 'meetAgain'>
  readonly peerSide: PeerSide
  readonly catalog: Pick<Catalog, 'forgetSigner'>
  readonly tickets: TicketBook
  readonly register: Pick<ImageRegister, 'reannounce' | 'confirmNames'>
  readonly log: Log
}

// Of those who were seen last; more are tried where the first ones answer.
const MAX_LAST_KNOWN = 32

type KeyOperations = Pick<NodeOperations, 'swarmRotate' | 'swarmRevoke'>

/** What a node can do about keys while it runs. */
interface KeyChanges extends Disposable {
  readonly courier: KeyCourier
  readonly operations: KeyOperations
  /** where members took connections once, for who finds nobody: a key that has ended is worth nothing elsewhere */
  lastKnown(settings: readonly DiscoverySetting[]): readonly PeerAddress[]
}

/** Follows the keys of the swarm while the node runs: tells others, and lets go of what ends with a key. */
export async function openKeyChanges(parts: KeyChangeParts): Promise<KeyChanges> {
  const { keeper, peerSide, directory, finder, log } = parts
  const courier = new KeyCourier({ ...parts, client: peerSide.questions })
  const follower = new KeyFollower(parts, courier)
  directory.on('met', (peer) => courier.onMet(peer))
  peerSide.on('outdated', (address) => {
    void courier.exchange(address).then(async (outcome) => {
      if (outcome === 'same') await finder.meetAgain(address)
    })
  })
  await follower.forgetRevoked()
  return {
    courier,
    lastKnown: (settings) =>
      settings.some(({ kind }) => kind === 'none')
        ? []
        : keeper.book.all().slice(0, MAX_LAST_KNOWN),
    operations: keyOperations(keeper, {
      others: () => directory.all(),
      tellAll: () => courier.tellAll(),
    }),
    [Symbol.dispose]: () => {
      follower[Symbol.dispose]()
      courier[Symbol.dispose]()
      log.debug({}, 'keys are no longer followed')
    },
  }
}

/** Rotate and revoke. @param node the running one; without it members are told at the next start */
export function keyOperations(
  keeper: KeyKeeper,
  node?: {
    readonly others: () => readonly { nodeId: string; nodeName: string }[]
    readonly tellAll: () => Promise<{ reached: KeyRecipient[]; notReached: KeyRecipient[] }>
  },
): KeyOperations {
  const change = async (
    revoked: readonly string[],
    overlapMs: number,
  ): Promise<Omit<KeyChangeResult, 'revoked'>> => {
    const previousSwarmId = swarmIdOf(keeper.keys.newest)
    await keeper.issue({ revoked, overlapMs })
    const told = (await node?.tellAll()) ?? { reached: [], notReached: untold(keeper) }
    return { swarmId: swarmIdOf(keeper.keys.newest), previousSwarmId, overlapMs, ...told }
  }
  return {
    swarmRotate: async ({ overlapMs }) => ({ ...(await change([], overlapMs)), revoked: [] }),
    swarmRevoke: async ({ nodes }) => {
      const known = [...(node?.others() ?? []), ...keeper.book.all()]
      const revoked = nodes.map((text) => memberNamed(text, known, keeper.ownId))
      const changed = await change(
        revoked.map(({ nodeId }) => nodeId),
        0,
      )
      return { ...changed, revoked }
    },
  }
}

/** What a running node lets go of when keys change. */
class KeyFollower implements Disposable {
  readonly #parts: KeyChangeParts
  readonly #courier: KeyCourier
  readonly #revoked: Set<string>
  #current: SwarmKey
  #accepted: readonly SwarmKey[]
  #announcing: Promise<void> = Promise.resolve()
  readonly #stop = new AbortController()

  constructor(parts: KeyChangeParts, courier: KeyCourier) {
    const { keys } = parts.keeper
    this.#parts = parts
    this.#courier = courier
    this.#revoked = new Set(keys.revoked)
    this.#current = keys.current
    this.#accepted = keys.accepted
    keys.on('change', this.#onChange)
    parts.keeper.on('taken', this.#onTaken)
  }

  /** Also at a start: the node may have been killed before it came to it. */
  async forgetRevoked(): Promise<void> {
    for (const nodeId of this.#parts.keeper.keys.revoked) await this.#forget(nodeId)
  }

  [Symbol.dispose](): void {
    this.#stop.abort()
    this.#parts.keeper.keys.off('change', this.#onChange)
    this.#parts.keeper.off('taken', this.#onTaken)
  }

  readonly #onTaken = (): void => this.#courier.handOn()

  readonly #onChange = (): void => {
    const { keeper, peerSide, log } = this.#parts
    const { current, accepted, revoked } = keeper.keys
    const isNew = [...revoked].filter((nodeId) => !this.#revoked.has(nodeId))
    for (const nodeId of isNew) this.#revoked.add(nodeId)
    // Connections that are up go on; where a key ends, only with those who are known to have the next one.
    const ended = this.#accepted.filter((key) => !accepted.some((other) => other.equals(key)))
    this.#accepted = accepted
    if (ended.length > 0) peerSide.endOldConnections({ keys: ended, but: this.#courier.upToDate() })
    if (isNew.length > 0) {
      this.#shutOut(isNew).catch((error: unknown) => {
        log.warn({ error: messageOf(error) }, 'not all of a node that was shut out is forgotten')
      })
    }
    if (!current.equals(this.#current)) this.#reannounce(current)
  }

  async #shutOut(nodeIds: readonly string[]): Promise<void> {
    await this.#parts.tickets.voidAll()
    for (const nodeId of nodeIds) await this.#forget(nodeId)
  }

  async #forget(nodeId: string): Promise<void> {
    const { catalog, directory, keeper } = this.#parts
    directory.forget(nodeId)
    keeper.book.remove(nodeId)
    await catalog.forgetSigner(nodeId)
  }

  /** Members meet under other keys now, and names are vouched for with the new one. */
  #reannounce(current: SwarmKey): void {
    const { register, log } = this.#parts
    const before = new RendezvousKeys({ current: this.#current, accepted: [this.#current] })
    this.#current = current
    this.#announcing = this.#announcing
      .then(async () => {
        if (this.#stop.signal.aborted) return
        await register.reannounce(before)
        await register.confirmNames({ signal: this.#stop.signal })
      })
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted)
          log.warn({ error: messageOf(error) }, 'not all is announced under the new key')
      })
  }
}

/**
 * Whom a person means: by name, by the beginning of an id, or by a whole id, which need not be known.
 * @throws OperationError NODE_UNKNOWN
 */
function memberNamed(
  text: string,
  known: readonly { nodeId: string; nodeName: string }[],
  ownId: string,
): { nodeId: string; nodeName?: string } {
  const names = new Map(known.map(({ nodeId, nodeName }) => [nodeId, nodeName]))
  const byName = [...names].filter(([, nodeName]) => nodeName === text)
  const byId = [...names].filter(
    ([nodeId]) => /^[0-9a-f]{4,64}$/.test(text) && nodeId.startsWith(text),
  )
  const [first, second] = byName.length > 0 ? byName : byId
  if (second) {
    const ids = [...(byName.length > 0 ? byName : byId)].map(([id]) => id.slice(0, 16))
    throw unknownNode(text, `${ids.length} members, with the ids ${ids.slice(0, 8).join(', ')}`)
  }
  const isWhole = /^[0-9a-f]{64}$/.test(text)
  const nodeId = first?.[0] ?? (isWhole ? text : undefined)
  if (nodeId === undefined) throw unknownNode(text, 'none')
  if (nodeId === ownId) throw unknownNode(text, 'this node, which cannot shut itself out')
  return { nodeId, ...(first && { nodeName: first[1] }) }
}

function unknownNode(text: string, found: string): OperationError {
  return new OperationError('NODE_UNKNOWN', `"${text}": wanted one member, found ${found}`)
}

function untold({ book, keys }: KeyKeeper): KeyRecipient[] {
  return book
    .all()
    .filter(({ nodeId }) => !keys.revoked.has(nodeId))
    .map(({ nodeId, nodeName, host, port }) => ({ nodeId, nodeName, host, port }))
}
