import { randomBytes } from 'node:crypto'
import type { RemoteInfo } from 'node:dgram'

import { LRUCache } from 'lru-cache'

import { messageOf } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { formatPeerAddress, type PeerAddress } from './discovery.ts'
import { formatLanMessage, parseLanMessage } from './lan-message.ts'
import { LAN_GROUPS, lanInterfaceAt, type LanInterface } from './lan-interfaces.ts'
import { LanSocket } from './lan-socket.ts'
import type { DatagramSeal } from './sealed-datagram.ts'
import { formatSealedLanMessage, parseSealedLanMessage } from './sealed-lan-message.ts'
import { SourceLimit } from './source-limit.ts'
import { TokenBucket } from './token-bucket.ts'

interface LanDiscoveryOptions {
  /** the one key that is announced: where the nodes of the swarm meet */
  readonly nodesKey: RendezvousKey
  /** whether it is that one, or was or will be: the swarm may change its key */
  readonly isNodesKey?: (key: RendezvousKey) => boolean
  readonly peerPort: number
  /** closed swarm: nobody else is to understand what is said */
  readonly seal?: DatagramSeal | undefined
  /** a node of this swarm was heard. @param isNew not lately */
  readonly onNode: (address: PeerAddress, isNew: boolean) => void
  /** IPv4 addresses of interfaces; without it all, and IPv6 as well */
  readonly interfaces?: readonly string[] | undefined
  readonly groupPort?: number
  readonly log?: Log
  readonly now?: () => number
}

// BEP 14
const GROUP_PORT = 6771
const INTERVAL_MS = 60_000
// A datagram may be lost, and the first is sent while others still start.
const SECOND_MESSAGE_MS = 500
// Newcomers are answered, but not each one alone, and not by all at the same time.
const OWN_MESSAGES = { perSecond: 0.5, burst: 3 }
const ANSWER_SPREAD_MS_PER_NODE = 10
const MAX_ANSWER_SPREAD_MS = 1_000
// A laptop changes its networks: who comes to one is to be found within seconds.
const LOOK_FOR_INTERFACES_MS = 2_000
const FORGET_MS = 5 * INTERVAL_MS
const MAX_NODES = 1024
// A node says something every other second at most; a host may run several.
const HEARD_MESSAGES = {
  perSource: { perSecond: 5, burst: 100 },
  all: { perSecond: 500, burst: 1000 },
}

/**
 * Nodes of one LAN find each other by multicast (the groups of BEP 14): one socket per family. In the open
 * swarm they speak as BEP 14 has it, of one key; in a closed one to members only. Where there is no multicast it finds nobody and does no harm.
 */
export class LanDiscovery {
  readonly #options: LanDiscoveryOptions
  readonly #log: Log
  readonly #cookie = randomBytes(8).toString('hex')
  readonly #heard = new LRUCache<string, PeerAddress>({ max: MAX_NODES, ttl: FORGET_MS })
  readonly #now: () => number
  readonly #heardMessages: SourceLimit
  readonly #ownMessages: TokenBucket
  #sockets: readonly LanSocket[] = []
  #timer: NodeJS.Timeout | undefined
  #watch: NodeJS.Timeout | undefined
  #nextAtMs = Infinity
  #isClosed = false

  private constructor(options: LanDiscoveryOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    this.#now = options.now ?? (() => performance.now())
    this.#heardMessages = new SourceLimit(HEARD_MESSAGES, this.#now())
    this.#ownMessages = new TokenBucket(OWN_MESSAGES, this.#now())
  }

  /** Never throws: without multicast there is a line in the log. */
  static async open(options: LanDiscoveryOptions): Promise<LanDiscovery> {
    const lan = new LanDiscovery(options)
    await lan.#openSockets()
    void lan.#announce(SECOND_MESSAGE_MS)
    lan.#watch = setInterval(() => void lan.#greetWhereNew(), LOOK_FOR_INTERFACES_MS).unref()
    return lan
  }

  /** The port of the group; 0 if there is no multicast. */
  get groupPort(): number {
    return this.#sockets[0]?.port ?? 0
  }

  /** The nodes that were heard within the last minutes, if it is their key. */
  peersAt(key: RendezvousKey): PeerAddress[] {
    const { nodesKey, isNodesKey = (other) => other === nodesKey } = this.#options
    return isNodesKey(key) ? [...this.#heard.values()] : []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    clearInterval(this.#watch)
    await Promise.all(this.#sockets.map((socket) => socket.close()))
  }

  async #openSockets(): Promise<void> {
    const { interfaces: given, groupPort = GROUP_PORT } = this.#options
    const groups = given ? LAN_GROUPS.filter(({ type }) => type === 'udp4') : LAN_GROUPS
    const interfaces = given && (() => given.map(lanInterfaceAt))
    const onMessage = (datagram: Buffer, source: RemoteInfo) => this.#onMessage(datagram, source)
    const opened = await Promise.allSettled(
      groups.map((group) =>
        LanSocket.open({ group, groupPort, interfaces, onMessage, log: this.#log }),
      ),
    )
    this.#sockets = opened.flatMap((result) =>
      result.status === 'fulfilled' ? [result.value] : [],
    )
    if (this.#sockets.length > 0) return
    const [failed] = opened.flatMap((result) =>
      result.status === 'rejected' ? [messageOf(result.reason)] : [],
    )
    this.#log.warn({ error: failed }, 'no multicast here: nodes of this LAN are not found by it')
  }

  async #announce(nextInMs: number): Promise<void> {
    this.#ownMessages.take(this.#now())
    this.#nextAtMs = Infinity
    this.#announceIn(nextInMs)
    const sends = this.#sockets.map((socket) => socket.send((from) => this.#message(socket, from)))
    await Promise.all(sends)
  }

  async #greetWhereNew(): Promise<void> {
    const sends = this.#sockets.map((socket) =>
      socket.sendWhereNew((from) => this.#message(socket, from)),
    )
    const sent = await Promise.all(sends)
    if (sent.includes(true)) this.#announceIn(SECOND_MESSAGE_MS)
  }

  #message({ group, port: groupPort }: LanSocket, { addresses }: LanInterface): Buffer {
    const { nodesKey, peerPort, seal } = this.#options
    if (seal) return formatSealedLanMessage({ port: peerPort, addresses }, seal)
    const content = { infoHash: nodesKey, port: peerPort, cookie: this.#cookie }
    return formatLanMessage(content, { group, groupPort })
  }

  /** The next message goes out then, or earlier. */
  #announceIn(delayMs: number): void {
    const atMs = this.#now() + delayMs
    if (this.#isClosed || atMs >= this.#nextAtMs) return
    this.#nextAtMs = atMs
    clearTimeout(this.#timer)
    const intervalMs = INTERVAL_MS * (0.9 + 0.2 * Math.random())
    this.#timer = setTimeout(() => void this.#announce(intervalMs), delayMs)
  }

  #onMessage(datagram: Buffer, { address, port }: RemoteInfo): void {
    if (this.#isClosed || port === 0 || !this.#heardMessages.take(address, this.#now())) return
    const { seal } = this.#options
    const peerPort = seal
      ? parseSealedLanMessage(datagram, { seal, from: address })
      : this.#portIn(datagram)
    if (peerPort !== undefined) this.#onNode({ host: address, port: peerPort })
  }

  #portIn(datagram: Buffer): number | undefined {
    const message = parseLanMessage(datagram)
    const isOurs = message?.infoHashes.includes(this.#options.nodesKey) === true
    return isOurs && message?.cookie !== this.#cookie ? message?.port : undefined
  }

  #onNode(address: PeerAddress): void {
    const name = formatPeerAddress(address)
    const isNew = !this.#heard.has(name)
    this.#heard.set(name, address)
    this.#options.onNode(address, isNew)
    if (isNew) this.#answer()
  }

  #answer(): void {
    const spreadMs = Math.min(MAX_ANSWER_SPREAD_MS, this.#heard.size * ANSWER_SPREAD_MS_PER_NODE)
    this.#announceIn(this.#ownMessages.waitMs(this.#now()) + Math.random() * spreadMs)
  }
}
