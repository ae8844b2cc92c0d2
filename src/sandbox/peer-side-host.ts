import { openDiscovery } from '../discovery/open-discovery.ts'
import type { Discovery } from '../discovery/discovery.ts'
import { OperationError } from '../errors.ts'
import { nodeIdentityOf } from '../membership/node-identity.ts'
import { RequestVerifier } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { SwarmKeys, SwarmKeyState } from '../membership/swarm-keys.ts'
import { memberSecrets } from '../peering/channel-secret.ts'
import { PeerClient } from '../peering/peer-client.ts'
import type { PeerHandlers } from '../peering/peer-server.ts'
import { SecureChannel } from '../peering/secure-channel.ts'
import { DiskBlobFile, openBlob } from '../store/blob-file.ts'
import type { MessageLink } from '../support/message-link.ts'
import { RemoteCalls, type RemoteHandlers } from '../support/remote-calls.ts'
import { openRelayedLog, type Log } from '../telemetry/log.ts'
import { TorrentEngine, type SeedContent } from '../torrent/torrent-engine.ts'
import { HostedDownloads } from './hosted-downloads.ts'
import { handlersOver } from './node-over-link.ts'
import { openPeerPort } from './peer-port.ts'
import type {
  NodeCalls,
  NodeInterface,
  PeerSideInterface,
  PeerSideSettings,
  PeerSideStats,
} from './peer-side-protocol.ts'
import { TicketKeys } from './ticket-keys.ts'
import { ToldKeys } from './told-keys.ts'
import { TrafficCount } from './traffic-count.ts'

/** What runs once the settings are known. */
interface Rooms {
  readonly client: PeerClient
  readonly channel: SecureChannel | undefined
  readonly discovery: Discovery
  readonly engine: TorrentEngine
  readonly traffic: TrafficCount
  readonly downloads: HostedDownloads
}

/**
 * Everything of a node that talks to strangers: the peer port, discovery, questions, torrents. It knows the node by a
 * link only: no registry, no engine, no catalog, and of the store nothing but the files that it is told of.
 */
export class PeerSideHost implements AsyncDisposable {
  readonly #node: NodeCalls
  readonly #tickets = new TicketKeys()
  readonly #stack = new AsyncDisposableStack()
  #rooms: Rooms | undefined
  #told: ToldKeys | undefined

  constructor(link: MessageLink) {
    this.#node = new RemoteCalls<NodeInterface, PeerSideInterface>(
      link,
      this.#handlers(),
      () => new OperationError('INTERRUPTED', 'the node has ended'),
    )
  }

  onUnexpected(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const fields = { error: text }
    this.#node.note('log', { level: 'error', fields, message: 'unexpected failure' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  async #open(settings: PeerSideSettings): Promise<{ peerPort: number }> {
    const { isPublic, host, port } = settings
    this.#told = new ToldKeys(settings.swarmKeys)
    const swarmKeys = this.#told.keys
    const log = openRelayedLog(settings.logLevel, (line) => this.#node.note('log', line))
    await using stack = new AsyncDisposableStack()
    const channel = isPublic ? undefined : this.#channelOf(settings, swarmKeys)
    const client = stack.use(new PeerClient(swarmKeys, channel))
    client.on('outdated', ({ host, port }) => this.#node.note('outdated', { host, port }))
    const { peerServer, discovery } = await openPeerPort(
      {
        port,
        verifier: new RequestVerifier(swarmKeys),
        handlers: this.#peerHandlers(),
        channel,
        log,
        ...(host !== undefined && { host }),
      },
      (bound) =>
        openDiscovery({
          swarmKeys,
          isPublic,
          settings: settings.discovery,
          host,
          port: bound,
          stateDir: settings.stateDir,
          nodeId: nodeIdentityOf(settings.nodeKey).nodeId,
          onHeard: (address) => this.#node.note('heard', address),
          log,
        }),
    )
    stack.use(peerServer)
    stack.use(discovery)
    const engine = stack.use(
      await this.#openEngine(settings, { peerPort: peerServer.port, channel, log }),
    )
    const traffic = stack.use(new TrafficCount((sums) => this.#node.note('traffic', sums)))
    engine.on('received', (bytes) => traffic.add('received', bytes))
    engine.on('sent', (bytes) => traffic.add('sent', bytes))
    const downloads = stack.use(new HostedDownloads({ engine, traffic, node: this.#node }))
    this.#rooms = { client, channel, discovery, engine, traffic, downloads }
    this.#stack.use(stack.move())
    return { peerPort: peerServer.port }
  }

  #channelOf({ nodeKey }: PeerSideSettings, swarmKeys: SwarmKeys): SecureChannel {
    return new SecureChannel({
      secrets: memberSecrets(swarmKeys),
      identity: nodeIdentityOf(nodeKey),
      ticketKey: (id) => this.#tickets.keyOf(id),
      admissionOf: (nodeId, key) => swarmKeys.admissionOf(nodeId, key),
      isWelcome: (nodeId) => this.#rooms?.engine.isBanned(nodeId) !== true,
    })
  }

  async #openEngine(
    { nodeKey, uploadBytesPerSecond, downloadBytesPerSecond }: PeerSideSettings,
    { peerPort, channel, log }: { peerPort: number; channel: SecureChannel | undefined; log: Log },
  ): Promise<TorrentEngine> {
    return await TorrentEngine.open({
      peerPort,
      nodeId: nodeIdentityOf(nodeKey).nodeId,
      load: (infoHash) => this.#load(infoHash),
      ...(channel && { channel }),
      log,
      ...(uploadBytesPerSecond !== undefined && { uploadBytesPerSecond }),
      ...(downloadBytesPerSecond !== undefined && { downloadBytesPerSecond }),
    })
  }

  async #load(infoHash: string): Promise<SeedContent | undefined> {
    const found = await this.#node.call('load', infoHash)
    if (!found) return undefined
    const { record, path } = found
    const file = new DiskBlobFile(await openBlob(path, record.digest))
    return {
      record: { ...record, pieces: Buffer.from(record.pieces) },
      content: {
        size: record.size,
        hasPiece: () => true,
        read: (offset, length) => file.read(offset, length),
        readInto: (bytes, offset) => file.readInto(bytes, offset),
      },
      close: async () => file[Symbol.asyncDispose](),
    }
  }

  #peerHandlers(): PeerHandlers {
    return {
      ...handlersOver(this.#node),
      bitTorrent: (socket) => this.#opened.engine.accept(socket),
    }
  }

  /** Who is shut out is cut off; all other connections go on, whatever they were proven with. */
  #onSwarmKeys(state: SwarmKeyState): void {
    this.#told?.replace(state)
    this.#rooms?.channel?.closeWhere(({ nodeId }) => state.revoked.has(nodeId))
  }

  #endOldConnections(keys: readonly SwarmKey[], but: ReadonlySet<string>): void {
    this.#rooms?.channel?.closeWhere(
      ({ nodeId, swarmKey, admission }) =>
        admission === 'member' &&
        keys.some((key) => swarmKey?.equals(key) === true) &&
        !but.has(nodeId),
    )
  }

  #stats(): PeerSideStats {
    const { traffic, discovery } = this.#opened
    traffic.flush()
    return { ...discovery.stats(), memoryBytes: process.memoryUsage.rss() }
  }

  get #opened(): Rooms {
    if (!this.#rooms) throw new OperationError('NODE_UNREACHABLE', 'this node is starting')
    return this.#rooms
  }

  #handlers(): RemoteHandlers<PeerSideInterface> {
    return {
      calls: {
        open: (settings) => this.#open(settings),
        close: () => this[Symbol.asyncDispose](),
        hello: ({ peer, self, ...ask }, { signal }) =>
          this.#opened.client.hello(peer, self, { ...ask, signal }),
        have: ({ peer, digests, ...ask }, { signal }) =>
          this.#opened.client.have(peer, digests, { ...ask, signal }),
        references: ({ peer, names, ...ask }, { signal }) =>
          this.#opened.client.references(peer, names, { ...ask, signal }),
        metainfo: ({ peer, digest, ...ask }, { signal }) =>
          this.#opened.client.metainfo(peer, digest, { ...ask, signal }),
        blob: async ({ peer, digest, ...ask }, { signal }) => {
          const content = await this.#opened.client.blob(peer, digest, { ...ask, signal })
          return content && Buffer.concat(await Array.fromAsync(content))
        },
        keys: ({ peer, orders, ...ask }, { signal }) =>
          this.#opened.client.keys(peer, orders, { ...ask, signal }),
        download: (order) => this.#opened.downloads.open(order),
        closeDownload: ({ id, isKept }) => this.#rooms?.downloads.close(id, { isKept }),
        drop: (infoHash) => this.#rooms?.engine.drop(infoHash),
        stats: () => this.#stats(),
      },
      streams: {
        findPeers: ({ key, ...options }, { signal }) =>
          this.#opened.discovery.findPeers(key, { ...options, signal }),
        warm: ({ peer, order }, { signal }) => this.#opened.client.warm(peer, order, { signal }),
      },
      notes: {
        announce: (key) => this.#rooms?.discovery.announce(key),
        withdraw: (key) => this.#rooms?.discovery.withdraw(key),
        ban: ({ peer, untilMs }) => this.#rooms?.engine.ban(peer, untilMs),
        uploadLimit: (bytes) => this.#rooms?.engine.limitUploads(bytes),
        tickets: (tickets) => this.#tickets.replace(tickets),
        swarmKeys: (state) => this.#onSwarmKeys(state),
        endOldConnections: ({ keys, but }) => this.#endOldConnections(keys, new Set(but)),
        hangUp: (address) => this.#rooms?.client.hangUp(address),
        dial: ({ id, endpoint }) => this.#rooms?.downloads.dial(id, endpoint),
        foreignPiece: ({ id, index }) => this.#rooms?.downloads.onForeignPiece(id, index),
      },
    }
  }
}
