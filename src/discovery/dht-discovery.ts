/**
 * Meeting on a DHT (BEP 5): the swarm's own one, where every datagram is sealed, or the open one.
 *
 *   findPeers ─▶ Lookups   ─▶ dht.lookup          first answers at once, the end when the 20 closest have answered
 *   announce  ─▶ Announcer   ─▶ dht.announce        again when somebody new may be asked
 *   contacts, saved nodes ─▶ ContactKeeper ─▶ routing table ─▶ saved nodes
 *
 * In a closed swarm a node that is asked for a key it keeps answers "me" (0.0.0.0 and its port), so that it
 * is found before its announce has arrived anywhere; who asks puts in the address that the answer came from.
 */
import type DHT from 'bittorrent-dht'
import type { DhtNode, DhtPeer, DhtSource } from 'bittorrent-dht'
import { LRUCache } from 'lru-cache'

import { messageOf } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import { abortable } from '../support/deadline.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { Announcer } from './announcer.ts'
import { makeBoundedDht } from './bounded-dht.ts'
import { ContactKeeper } from './contact-keeper.ts'
import { CLOSED_TUNING, PUBLIC_TUNING, type DhtTuning } from './dht-tuning.ts'
import type { Discovery, DiscoveryStats, PeerAddress } from './discovery.ts'
import { GuardedSocket, type GuardedSocketOptions } from './guarded-socket.ts'
import { Lookups } from './lookups.ts'
import { MAX_MEMBER_MESSAGE_BYTES } from './member-envelope.ts'
import { DhtItems } from './mutable-items.ts'
import { maxReplyBytes } from './reply-bound.ts'
import type { SavedNodes } from './saved-nodes.ts'
import { DatagramSeal } from './sealed-datagram.ts'
import { SourceLimit } from './source-limit.ts'

interface DhtDiscoveryOptions {
  readonly swarmKeys: SwarmKeys
  /** plain BEP 5 with everybody, rather than only with those who have the key */
  readonly isPublic: boolean
  /** open DHT: asks, and answers nobody (BEP 43) */
  readonly isReadOnly?: boolean
  /** the peer port, TCP and UDP; 0 picks a free one */
  readonly port: number
  readonly host?: string | undefined
  /** nodes to start from; hosts may be names */
  readonly contacts?: readonly PeerAddress[]
  readonly savedNodes?: SavedNodes | undefined
  readonly log?: Log
  readonly tuning?: Partial<DhtTuning>
}

const HOUSEKEEPING_MS = 5 * 60_000
// A table this small is the whole swarm: whoever joins it is asked for every key.
const SMALL_TABLE = 20
const NEWCOMER_DEBOUNCE_MS = 100
const SECOND_MEETING_MS = 1_000
const MAX_MET = 4096
const STRANGER_PINGS = {
  perSource: { perSecond: 0.1, burst: 1 },
  all: { perSecond: 20, burst: 100 },
}
const MEMBER_PINGS = {
  perSource: { perSecond: 1, burst: 2 },
  all: { perSecond: 500, burst: 2000 },
}
const MYSELF = '0.0.0.0'

/** The one user of bittorrent-dht. Peers come from whoever is asked: hints, as everywhere. */
export class DhtDiscovery implements Discovery {
  readonly #dht: DHT
  readonly #socket: GuardedSocket
  readonly #options: DhtDiscoveryOptions
  readonly #log: Log
  readonly #announcer: Announcer
  readonly #keeper: ContactKeeper
  readonly #lookups: Lookups
  readonly #metNodes = new LRUCache<string, true>({ max: MAX_MET })
  readonly #closing = new AbortController()
  readonly #housekeeping: NodeJS.Timeout
  #newcomerTimer: NodeJS.Timeout | undefined
  #secondMeeting: NodeJS.Timeout | undefined
  #isFilled = false
  #closed: Promise<void> | undefined

  private constructor(
    socket: GuardedSocket,
    options: DhtDiscoveryOptions,
    { tuning, savedNodes }: { tuning: DhtTuning; savedNodes: PeerAddress[] },
  ) {
    this.#socket = socket
    this.#options = options
    this.#log = options.log ?? silentLog
    this.#dht = this.#makeDht(tuning)
    this.#announcer = this.#makeAnnouncer(tuning)
    this.#lookups = this.#makeLookups()
    this.#keeper = this.#makeKeeper(tuning, savedNodes)
    this.#housekeeping = setInterval(() => this.#keepHouse(), HOUSEKEEPING_MS)
    this.#dht.on('node', (node) => this.#onNode(node))
    this.#dht.nodes.on('removed', (node) => this.#onNodeRemoved(node))
    this.#dht.on('peer', (peer, key, source) => this.#onPeer(peer, key, source))
    this.#dht.on('error', (error) => this.#log.warn({ error: error.message }, 'DHT error'))
    this.#dht.listen()
    this.#keeper.start()
  }

  /**
   * Binds the peer port (UDP) and asks the contacts; does not wait for them.
   * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE
   */
  static async open(options: DhtDiscoveryOptions): Promise<DhtDiscovery> {
    const { port, host, log = silentLog } = options
    const tuning = { ...(options.isPublic ? PUBLIC_TUNING : CLOSED_TUNING), ...options.tuning }
    const savedNodes = (await options.savedNodes?.load()) ?? []
    const socket = await GuardedSocket.open({
      port,
      host,
      log,
      limits: limitsOf(tuning),
      isReadOnly: options.isReadOnly,
      ...(options.isPublic ? openRules() : closedRules(options)),
    })
    return new DhtDiscovery(socket, options, { tuning, savedNodes })
  }

  /** The UDP port that is bound. */
  get port(): number {
    return this.#socket.port
  }

  announce(key: RendezvousKey): void {
    this.#announcer.add(key)
  }

  /** What others keep of it expires within half an hour: BEP 5 knows no withdrawal. */
  withdraw(key: RendezvousKey): void {
    this.#announcer.remove(key)
  }

  async *findPeers(
    key: RendezvousKey,
    options: { signal?: AbortSignal; limit?: number } = {},
  ): AsyncGenerator<PeerAddress> {
    const own = this.#announcer.has(key) ? [this.#ownAddress()] : []
    yield* this.#lookups.read(key, options, own)
  }

  /** Asks whether there is a node at this address; if there is, it comes into the routing table. */
  addNode(address: PeerAddress): void {
    if (!this.#closing.signal.aborted) this.#dht.addNode({ ...address })
  }

  /**
   * Items of this DHT (BEP 44).
   * @param onSeenAs an answer has come, from whom, and what it says where we are (BEP 42)
   */
  items(onSeenAs: (voterHost: string, said: unknown) => void): DhtItems {
    const { _rpc: rpc } = this.#dht
    return new DhtItems({ rpc, ready: () => this.#ready(), onSeenAs })
  }

  /** Resolves when every kept key was announced, or tried and put off. */
  async announced(): Promise<void> {
    await this.#announcer.idle()
  }

  stats(): DiscoveryStats {
    return {
      dhtNodes: this.#dht.nodes.count(),
      announcedKeys: this.#announcer.size,
      refusedDatagrams: this.#socket.refusedCount,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  #makeDht(tuning: DhtTuning): DHT {
    const { isPublic } = this.#options
    return makeBoundedDht({
      socket: this.#socket,
      isPublic,
      tuning,
      myselfAt: (key) => (!isPublic && this.#announcer.has(key) ? [this.#compactSelf()] : []),
    })
  }

  #makeAnnouncer({ announcesPerSecond, announcesAtOnce }: DhtTuning): Announcer {
    return new Announcer({
      announce: (key, signal) => this.#announceOnce(key, signal),
      canAnnounce: () => this.#dht.nodes.count() > 0,
      ratePerSecond: announcesPerSecond,
      concurrency: announcesAtOnce,
      log: this.#log,
    })
  }

  #makeLookups(): Lookups {
    return new Lookups({
      ready: () => this.#ready(),
      lookUp: (key, signal) => this.#lookUp(key, signal),
      log: this.#log,
    })
  }

  /** There is somebody to ask, or nobody to wait for. */
  async #ready(): Promise<void> {
    if (!this.#isFilled) await this.#keeper.firstRound
  }

  #makeKeeper({ timeoutMs }: DhtTuning, savedNodes: PeerAddress[]): ContactKeeper {
    const { nodes } = this.#dht
    return new ContactKeeper({
      table: {
        isEmpty: () => nodes.count() === 0,
        has: ({ host, port }) =>
          nodes.toArray().some((node) => node.host === host && node.port === port),
        ping: (address) => this.addNode(address),
      },
      contacts: this.#options.contacts ?? [],
      savedNodes,
      pingTimeoutMs: timeoutMs,
      log: this.#log,
    })
  }

  async #announceOnce(key: string, signal: AbortSignal): Promise<void> {
    // A table that a lookup left behind when it ended early names too few nodes to announce to.
    const { _tables: tables } = this.#dht
    tables.remove(key)
    const done = Promise.withResolvers<void>()
    this.#dht.announce(key, this.port, (error) => (error ? done.reject(error) : done.resolve()))
    await abortable(done.promise, signal)
  }

  /** Settles when the 20 closest nodes have answered or are given up, or when `signal` fires. */
  async #lookUp(key: string, signal: AbortSignal): Promise<void> {
    const done = Promise.withResolvers<void>()
    const abort = this.#dht.lookup(key, () => done.resolve())
    await abortable(done.promise, signal).finally(abort)
  }

  #onPeer(peer: DhtPeer, keyBytes: Buffer, source: DhtSource | null): void {
    const key = keyBytes.toString('hex') as RendezvousKey
    if (!this.#lookups.isRunning(key)) return
    const address = reachableAddress(peer, source, this.#options.isPublic)
    if (address) this.#lookups.found(key, address)
  }

  #onNode(node: DhtNode): void {
    if (node.id.equals(this.#dht.nodeId)) {
      // One of the contacts is this node: the library would put it into its own table.
      this.#keeper.ignore(node)
      this.#dht.removeNode(node.id)
      return
    }
    if (!this.#options.isPublic) this.#dropPredecessors(node)
    const isNew = !this.#metNodes.has(node.id.toString('hex'))
    this.#metNodes.set(node.id.toString('hex'), true)
    if (!this.#isFilled) this.#onFilled()
    else if (isNew && this.#dht.nodes.count() <= SMALL_TABLE) this.#announceToNewcomers()
  }

  /** A node that was started anew has another id; the old one would stay in the table for good. */
  #dropPredecessors({ id, host, port }: DhtNode): void {
    for (const other of this.#dht.nodes.toArray()) {
      if (other.port === port && other.host === host && !other.id.equals(id)) {
        this.#dht.removeNode(other.id)
      }
    }
  }

  #onFilled(): void {
    this.#isFilled = true
    this.#keeper.onFilled()
    this.#meetNeighbours()
    if (this.#options.isPublic) this.#meetAgainSoon()
    this.#announcer.announceAll()
  }

  #onNodeRemoved(node: DhtNode): void {
    this.#keeper.remember(node)
    if (!this.#isFilled || this.#dht.nodes.count() > 0) return
    this.#isFilled = false
    this.#keeper.onEmptied()
  }

  /** A lookup of our own id: finds the nodes around it, and lets them find us. */
  #meetNeighbours(): void {
    this.#dht.lookup(this.#dht.nodeId.toString('hex'), () => {})
  }

  /** A stranger is told of few nodes; who was pinged and has answered of as many as fit. */
  #meetAgainSoon(): void {
    clearTimeout(this.#secondMeeting)
    this.#secondMeeting = setTimeout(() => {
      if (this.#isFilled) this.#meetNeighbours()
    }, SECOND_MEETING_MS)
  }

  #announceToNewcomers(): void {
    this.#newcomerTimer ??= setTimeout(() => {
      // One round after the other, however many come: a round of many keys is the larger load.
      void this.#announcer.idle().then(() => {
        this.#newcomerTimer = undefined
        this.#announcer.announceAll()
      })
    }, NEWCOMER_DEBOUNCE_MS)
  }

  #keepHouse(): void {
    if (this.#isFilled) this.#meetNeighbours()
    void this.#saveNodes(this.#dht.nodes.toArray())
  }

  async #saveNodes(nodes: readonly DhtNode[]): Promise<void> {
    try {
      await this.#options.savedNodes?.save(nodes)
    } catch (error) {
      // Only the next start gets slower.
      this.#log.warn({ error: messageOf(error) }, 'DHT nodes not saved')
    }
  }

  #compactSelf(): Buffer {
    const compact = Buffer.alloc(6)
    compact.writeUInt16BE(this.port, 4)
    return compact
  }

  #ownAddress(): PeerAddress {
    const { host = MYSELF } = this.#options
    return { host: host === MYSELF ? '127.0.0.1' : host, port: this.port }
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    this.#announcer.close()
    this.#keeper.close()
    clearInterval(this.#housekeeping)
    clearTimeout(this.#newcomerTimer)
    clearTimeout(this.#secondMeeting)
    this.#lookups.close()
    const nodes = this.#dht.nodes.toArray()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#dht.destroy(resolve)
    await Promise.all([promise, this.#saveNodes(nodes)])
  }
}

function openRules(): Pick<GuardedSocketOptions, 'maxReplyBytes' | 'strangerPings'> {
  return { maxReplyBytes, strangerPings: new SourceLimit(STRANGER_PINGS) }
}

/** What the socket asks of a datagram, and gives for it, in a closed swarm. */
function closedRules({
  swarmKeys,
}: Pick<DhtDiscoveryOptions, 'swarmKeys'>): Pick<
  GuardedSocketOptions,
  'maxReplyBytes' | 'seal' | 'strangerPings'
> {
  return {
    seal: new DatagramSeal({ swarmKeys, label: 'dd1/datagram\0' }),
    // Who can seal a question is a member: it gets what fits.
    maxReplyBytes: () => MAX_MEMBER_MESSAGE_BYTES,
    // But it may have been said again by another, from elsewhere.
    strangerPings: new SourceLimit(MEMBER_PINGS),
  }
}

function limitsOf({ strangerRate, knownRate, totalRate }: DhtTuning): {
  strangers: SourceLimit
  known: SourceLimit
} {
  return {
    strangers: new SourceLimit({ perSource: strangerRate, all: totalRate }),
    known: new SourceLimit({ perSource: knownRate, all: totalRate }),
  }
}

/** Where the peer is as seen from here: "me", and what is on its loopback, is at the node that answered. */
function reachableAddress(
  peer: DhtPeer,
  source: DhtSource | null,
  isPublic: boolean,
): PeerAddress | undefined {
  const from = source?.address ?? source?.host
  if (from === undefined) return peer
  const isMyself = peer.host === MYSELF
  const isLoopback = peer.host.startsWith('127.') && !from.startsWith('127.')
  if (!isMyself && !isLoopback) return peer
  // In the open swarm that would let anybody send us to our own services.
  return isPublic ? undefined : { host: from, port: peer.port }
}
