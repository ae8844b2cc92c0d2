import type { Config } from './config/options.ts'
import type { NodeOperations } from './control/control-protocol.ts'
import { ControlServer } from './control/control-server.ts'
import { parseDiscovery } from './discovery/discovery-setting.ts'
import { ClientUsers } from './http/client-user.ts'
import { listen, type HttpServer } from './http/listen.ts'
import { RendezvousKeys } from './membership/rendezvous-key.ts'
import { swarmIdOf } from './membership/swarm-key.ts'
import { TicketBook } from './membership/ticket-book.ts'
import { ClientIdentities } from './node/client-identity.ts'
import { doorProbes } from './node/door-probes.ts'
import { EngineImages } from './node/engine-images.ts'
import { explainOperation } from './node/explain-operation.ts'
import { openHoldings } from './node/holdings.ts'
import {
  importOperation,
  pullOperation,
  seedOperations,
  torrentOperation,
} from './node/image-operations.ts'
import { keepConfirming } from './node/keep-confirming.ts'
import { keepMeeting } from './node/keep-meeting.ts'
import { openKeyChanges } from './node/key-changes.ts'
import { openPeerSide, type Answering } from './node/peer-side-of.ts'
import { publishOperations } from './node/publish-operations.ts'
import { Publishing } from './node/publishing.ts'
import { openPushBackend } from './node/push-backend.ts'
import { RunningStatus } from './node/running-status.ts'
import { NodeBackend } from './node/registry-backend.ts'
import { refuseKeyChanges, swarmOperations } from './node/swarm-operations.ts'
import { openUpstreamOf } from './node/upstream-of.ts'
import { obeyWarmOrder, refuseWarmOrder, warmOperation } from './node/warm-operation.ts'
import { PeerDirectory } from './peering/peer-directory.ts'
import type { NodeHello } from './peering/peer-messages.ts'
import { publicReachOf, reachOf, type PeerSideReach } from './sandbox/peer-side-folder.ts'
import type { PeerSideProcess } from './sandbox/peer-side-process.ts'
import { createRegistryApp } from './registry/app.ts'
import { createStatusRoutes } from './status/status-routes.ts'
import type { Log } from './telemetry/log.ts'
import { Metrics } from './telemetry/metrics.ts'
import { BlobFetcher } from './transfer/blob-fetcher.ts'
import { BlobSources } from './transfer/blob-sources.ts'
import { BlobTorrents } from './transfer/blob-torrents.ts'
import { ContentAccess } from './transfer/content-access.ts'
import { ImagePuller } from './transfer/image-puller.ts'
import { ImageRegister } from './transfer/image-register.ts'
import { ImageResolver } from './transfer/image-resolver.ts'
import { ImageSeeder } from './transfer/image-seeder.ts'
import { LayerPrefetch } from './transfer/layer-prefetch.ts'
import { PeerAnswers } from './transfer/peer-answers.ts'
import { PeerFinder } from './transfer/peer-finder.ts'
import { SwarmSource } from './transfer/swarm-source.ts'
import { UpstreamSource } from './transfer/upstream-source.ts'
import { UpstreamTags } from './transfer/upstream-tags.ts'
import { VERSION } from './version.ts'

export { openOffline } from './node/offline-node.ts'

/** What a started node says of itself on its `ready` line. */
export interface ReadyLine {
  readonly registry: string
  readonly peerPort: number
  readonly nodeId: string
  readonly nodeName: string
  readonly swarmId: string
}

const UPSTREAM_MANIFEST_MS = 20_000

/** A node until it is disposed. */
export interface RunningNode extends AsyncDisposable {
  readonly ready: ReadyLine
  readonly operations: NodeOperations
}

interface OpenOptions {
  readonly log: Log
  readonly signal?: AbortSignal
  /** what talks to peers gets a process of its own; by default it is this one */
  readonly isolatesPeers?: boolean
  /** how long after it is told of a swarm key this node begins to send with it */
  readonly keySettleMs?: number
}

/**
 * Opens every room in order: what this node holds, who it is, how peers reach it, what it fetches, and the
 * doors. Disposing closes them in the opposite order.
 * @throws OperationError DATA_DIR_UNUSABLE, DATA_DIR_IN_USE, DISK_READ_ONLY, PORT_IN_USE, ADDRESS_UNUSABLE,
 * SWARM_KEY_INVALID, CONFIG_INVALID
 */
export async function openNode(
  config: Config,
  { log, signal, isolatesPeers = false, keySettleMs }: OpenOptions,
): Promise<RunningNode> {
  signal?.throwIfAborted()
  await using rooms = new AsyncDisposableStack()
  const isPublic = config.swarm === 'public'
  const settings = parseDiscovery(config.discovery)
  const { store, catalog, privateContent, identity, swarmKeys, keyKeeper } = await openHoldings(
    config,
    { log, rooms, keySettleMs },
  )
  const keys = new RendezvousKeys(swarmKeys)
  const torrents = new BlobTorrents({ store, catalog, swarmKeys })
  const metrics = new Metrics()

  // Who is there: peers are answered as soon as the rooms behind the answers are open.
  const directory = new PeerDirectory(identity.nodeId)
  const tickets = await TicketBook.open(config.dataDir)
  let answering: Answering | undefined
  const launch = await launcher(isolatesPeers)
  const peerSide = rooms.use(
    await openPeerSide({
      config,
      settings,
      identity,
      swarmKeys,
      tickets,
      launch: () => launch(reachOf(config.dataDir)),
      answering: () => answering,
      log,
    }),
  )
  const { peerPort, discovery, questions: client } = peerSide
  const self = (): NodeHello => ({
    nodeId: identity.nodeId,
    nodeName: config.nodeName,
    version: VERSION,
    peerPort,
    ...(status.holds && { holds: status.holds }),
    ...(keyKeeper && { keys: keyKeeper.mark }),
  })

  // Registries, and who may have what they gave.
  const upstream = await openUpstreamOf(config, { log, rooms })
  const { accessLifetimeMs } = config
  const access = new ContentAccess({
    catalog,
    privateContent,
    upstream,
    log,
    lifetimeMs: accessLifetimeMs,
    onPrivate: () => publishing.lookAfter(),
  })
  // What moves: who holds what, one transfer per blob.
  const finder = new PeerFinder({ discovery, client, directory, keys, self, log })
  const status = new RunningStatus({
    config,
    metrics,
    store,
    catalog,
    directory,
    peerSide,
  })
  let hasLookedAround = false
  const swarm = new SwarmSource({
    isAlone: () => hasLookedAround && directory.usable().length === 0,
    store,
    catalog,
    torrents,
    peerSide,
    finder,
    directory,
    isPublic,
    access,
    log,
    onBadPeer: (peer) => status.onBadPeer(peer),
    onWholeBlob: (bytes) => metrics.countPeerBytes('in', bytes),
  })
  const sources = new BlobSources({
    store,
    catalog,
    swarm,
    access,
    isPublic,
    log,
    upstream: upstream && new UpstreamSource({ upstream, access }),
  })
  const fetcher = rooms.use(
    new BlobFetcher({
      store,
      catalog,
      sources,
      onEnded: (snapshot) => status.onTransferEnded(snapshot),
      onStoreRead: (bytes) => metrics.countBlobBytes('store', bytes),
      log,
    }),
  )

  // What images are: names, manifests, the engine of this host.
  const register = new ImageRegister({
    store,
    catalog,
    keys,
    identity,
    swarmKeys,
    discovery,
    isPublic,
    access,
    nodeName: config.nodeName,
    onImageRemoved: (digest) => publishing.onImageRemoved(digest),
  })
  const keyParts = { peerSide, directory, finder, catalog, tickets, register, log }
  const keyChanges =
    keyKeeper && rooms.use(await openKeyChanges({ ...keyParts, keeper: keyKeeper }))
  // What everybody may have, beside the closed swarm: nothing of that is handed to it but the parts to choose from.
  const publishing = rooms.use(
    await Publishing.open({
      config,
      store,
      catalog,
      torrents,
      access,
      upstream,
      log,
      launch: () => launch(publicReachOf(config.dataDir)),
      onUploadShare: (bytesPerSecond) => peerSide.limitUploads(bytesPerSecond),
      onSent: (bytes) => metrics.countPeerBytes('out', bytes),
    }),
  )
  const upstreamTags =
    upstream && new UpstreamTags({ upstream, access, freshness: config.tagFreshness })
  const resolver = new ImageResolver({
    catalog,
    store,
    fetcher,
    finder,
    client,
    register,
    access,
    upstreamTags,
    offlineTags: config.offlineTags,
    identity,
    isPublic,
    keys,
    swarmKeys,
    log,
  })
  const stopping = new AbortController()
  let doorAddresses: readonly string[] = []
  const doors = () => doorAddresses
  const seeder = new ImageSeeder({ catalog, register, access, doors })
  const prefetch = new LayerPrefetch({ fetcher, log })
  rooms.defer(() => prefetch.close())
  const puller = new ImagePuller({ resolver, fetcher, store })
  const engineImages = new EngineImages({
    store,
    catalog,
    register,
    seeder,
    doors,
    log,
    dockerHost: config.dockerHost,
  })

  // The doors: peers, the engine, commands.
  answering = answeringOf()
  const inner = new NodeBackend({
    resolver,
    fetcher,
    access,
    prefetch,
    upstream,
    identities: new ClientIdentities({
      users: new ClientUsers(),
      mayLogIn: async (registry) => upstream?.mayLogIn(registry) ?? true,
      passCredentials: config.passCredentials,
    }),
  })
  const door = rooms.adopt(
    await listen(
      createRegistryApp({
        backend: openPushBackend({
          inner,
          rooms,
          nodeId: identity.nodeId,
          store,
          catalog,
          torrents,
          register,
          access,
          fetcher,
          resolver,
          config,
          log,
        }),
        // Upstream may be slow, and some engines have no other host to go on to.
        limits: upstream ? { manifestMs: UPSTREAM_MANIFEST_MS } : {},
        hosts: [config.registry.host],
        log,
        metrics,
        pages: [
          doorProbes(),
          createStatusRoutes({ source: status, metrics, log, signal: stopping.signal }),
        ],
      }),
      config.registry,
      { log },
    ),
    (server) => server.drain(),
  )
  doorAddresses = [...door.addresses, `localhost:${door.port}`]
  const ready: ReadyLine = {
    registry: registryAddress(door),
    peerPort,
    nodeId: identity.nodeId,
    nodeName: config.nodeName,
    get swarmId() {
      return swarmIdOf(swarmKeys.newest)
    },
  }
  const offline = { store, catalog, seeder, torrents, doors }
  const operations: NodeOperations = {
    import: importOperation(offline),
    torrent: torrentOperation(offline),
    ...seedOperations(engineImages, doors),
    pull: pullOperation({ puller, engine: engineImages, doors }),
    warm: warmOperation({
      puller,
      engine: engineImages,
      finder,
      directory,
      client,
      self,
      address: () => `${config.peerHost ?? '127.0.0.1'}:${peerPort}`,
    }),
    ...swarmOperations(
      swarmKeys,
      isPublic ? undefined : { tickets, host: config.peerHost, peerPort },
    ),
    ...(keyChanges?.operations ?? refuseKeyChanges()),
    ...publishOperations({ ...offline, access, upstream, publishing, isPublic, register, ready }),
    explain: explainOperation({ store, catalog, fetcher, upstreamTags, doors }),
    list: async () => ({ images: await status.images() }),
    status: () => status.status(),
    peers: async () => ({ peers: await status.peers() }),
  }
  status.open({ ready, fetcher, engineImages, publishing })
  rooms.use(await ControlServer.open({ dataDir: config.dataDir, operations, log }))
  rooms.use(
    keepMeeting({
      finder,
      lan: peerSide,
      log,
      onLookedAround: () => (hasLookedAround = true),
      lastKnown: () => keyChanges?.lastKnown(settings) ?? [],
    }),
  )
  rooms.use(keepConfirming({ register, log }))
  await register.announceAll()
  if (!isPublic) await publishing.resume()
  const opened = rooms.move()
  opened.defer(() => stopping.abort())
  return { ready, operations, [Symbol.asyncDispose]: () => opened.disposeAsync() }

  function answeringOf(): Answering {
    const onWholeBlob = (bytes: number) => metrics.countPeerBytes('out', bytes)
    return {
      answers: new PeerAnswers({
        store,
        catalog,
        torrents,
        fetcher,
        access,
        isPublic,
        onWholeBlob,
      }),
      hello: (caller, address) => {
        directory.meet(caller, address)
        return self()
      },
      warm: isPublic
        ? refuseWarmOrder
        : (order, signal) => obeyWarmOrder(order, { puller, engine: engineImages, self }, signal),
      keys: async (question, nodeId) => keyChanges?.courier.answer(question, nodeId),
      join: async (ticketId) => ((await tickets.redeem(ticketId)) ? swarmKeys.newest : undefined),
      /** Plain clients ask by infohash: what is private is not here for them. */
      locate: async (infoHash) => {
        const torrent = isPublic ? await catalog.torrentByInfoHash(infoHash) : undefined
        if (torrent && (await access.isPrivate(torrent.digest))) return undefined
        return torrents.locate(infoHash)
      },
    }
  }
}

/** What is not needed is not loaded: a node whose peers are isolated has no torrent engine in it. */
async function launcher(
  isolatesPeers: boolean,
): Promise<(reach: PeerSideReach) => PeerSideProcess> {
  return isolatesPeers
    ? (await import('./sandbox/peer-side-process.ts')).launchPeerSide
    : (await import('./sandbox/peer-side-inside.ts')).hostInside
}

/** `127.0.0.1:5151`, as people type it before an image name. */
function registryAddress({ addresses, port }: HttpServer): string {
  return addresses[0] ?? `127.0.0.1:${port}`
}
