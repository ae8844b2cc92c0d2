import type { Catalog } from '../catalog/catalog.ts'
import type { Config } from '../config/options.ts'
import { OperationError } from '../errors.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Publications } from '../publication/publications.ts'
import type { PublishedFiles } from '../publication/published-files.ts'
import {
  PublishedCatalog,
  PublishedContent,
  PublishedStore,
} from '../publication/published-view.ts'
import type { PeerSide } from '../sandbox/peer-side.ts'
import type { PeerSideProcess } from '../sandbox/peer-side-process.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { pause } from '../support/pause.ts'
import { TokenBucket } from '../support/token-bucket.ts'
import type { Log } from '../telemetry/log.ts'
import { BlobTorrents } from '../transfer/blob-torrents.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import { ImageRegister } from '../transfer/image-register.ts'
import { PeerAnswers } from '../transfer/peer-answers.ts'
import { keepConfirming } from './keep-confirming.ts'
import { openPublicSide } from './public-side.ts'

interface PublicPresenceOptions {
  readonly config: Pick<
    Config,
    'dataDir' | 'peerHost' | 'publicPort' | 'publicDiscovery' | 'uploadBytesPerSecond'
  >
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly access: Pick<ContentAccess, 'isPrivate'>
  readonly publications: Publications
  readonly files: PublishedFiles
  /** starts the process of the public side */
  readonly launch: () => PeerSideProcess
  /** told what the closed swarm may take from now on, where uploads are limited */
  readonly onUploadShare: (bytesPerSecond: number) => void
  /** told of bytes that went to strangers */
  readonly onSent: (bytes: number) => void
  readonly log: Log
}

/** The public side while it is open, and what announces and signs there. */
export interface PublicPresence extends AsyncDisposable {
  readonly side: PeerSide
  readonly register: ImageRegister
}

// All have the limit together, and none can have the part of another.
const CLOSED_SHARE = 1 / 2
const WIRES_SHARE = 3 / 8
const ANSWERS_SHARE = 1 / 8

/**
 * What strangers can learn of this node, put together: views in which only published content exists, and the parts that
 * answer, announce and sign from these views and from nothing else.
 */
export class PublicViews {
  readonly swarmKeys = new SwarmKeys(PUBLIC_SWARM_KEY)
  readonly keys = new RendezvousKeys(this.swarmKeys)
  readonly content: PublishedContent
  readonly torrents: BlobTorrents
  readonly #options: PublicPresenceOptions
  readonly #store: PublishedStore
  readonly #catalog: PublishedCatalog

  constructor(options: PublicPresenceOptions) {
    const { store, catalog, access, publications, files } = options
    this.#options = options
    this.content = new PublishedContent({ publications, access })
    const { content, swarmKeys } = this
    this.#store = new PublishedStore({ store, content, files })
    this.#catalog = new PublishedCatalog({ catalog, publications, content })
    this.torrents = new BlobTorrents({ store: this.#store, catalog: this.#catalog, swarmKeys })
  }

  /** @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE, CONFIG_INVALID */
  async open(identity: NodeIdentity): Promise<PublicPresence> {
    await using rooms = new AsyncDisposableStack()
    const { config, launch, onUploadShare, onSent, log } = this.#options
    const { uploadBytesPerSecond: limit } = config
    const nodeName = publicNameOf(identity.nodeId)
    const { swarmKeys } = this
    const side = rooms.use(
      await openPublicSide({
        config,
        identity,
        nodeName,
        swarmKeys,
        uploadBytesPerSecond: limit && Math.ceil(limit * WIRES_SHARE),
        launch,
        answering: {
          answers: this.#answers(rooms),
          locate: (infoHash) => this.torrents.locate(infoHash),
        },
        log,
      }),
    )
    side.on('sent', ({ bytes }) => onSent(bytes))
    const register = this.#registerOf({ side, identity, nodeName })
    rooms.use(keepConfirming({ register, log }))
    if (limit !== undefined) {
      onUploadShare(Math.ceil(limit * CLOSED_SHARE))
      rooms.defer(() => onUploadShare(limit))
    }
    const opened = rooms.move()
    return { side, register, [Symbol.asyncDispose]: () => opened.disposeAsync() }
  }

  #answers(rooms: AsyncDisposableStack): PeerAnswers {
    const { uploadBytesPerSecond: limit } = this.#options.config
    const closing = new AbortController()
    rooms.defer(() =>
      closing.abort(new OperationError('INTERRUPTED', 'nothing is public any more')),
    )
    return new PeerAnswers({
      beforeWholeBlob:
        limit === undefined ? undefined : pacedBy(limit * ANSWERS_SHARE, closing.signal),
      store: this.#store,
      catalog: this.#catalog,
      torrents: this.torrents,
      // What is on its way was not here when it was published.
      fetcher: { shared: () => undefined },
      // The views have decided that already.
      access: { isPrivate: async () => false },
      isPublic: true,
      onWholeBlob: this.#options.onSent,
    })
  }

  #registerOf({
    side,
    identity,
    nodeName,
  }: {
    side: PeerSide
    identity: NodeIdentity
    nodeName: string
  }): ImageRegister {
    return new ImageRegister({
      store: this.#store,
      catalog: this.#catalog,
      keys: this.keys,
      identity,
      swarmKeys: this.swarmKeys,
      nodeName,
      discovery: side.discovery,
      isPublic: true,
      access: { isPrivate: async (digest) => !(await this.content.isOpen(digest)) },
    })
  }
}

/** What small blobs and manifests wait for, which go out by no wire. */
function pacedBy(bytesPerSecond: number, signal: AbortSignal): (bytes: number) => Promise<void> {
  const bucket = new TokenBucket(bytesPerSecond)
  return async (bytes) => {
    for (let waitMs = bucket.take(bytes); waitMs > 0; waitMs = bucket.take(bytes)) {
      await pause(waitMs, signal)
      signal.throwIfAborted()
    }
  }
}

/** What a node is called by everybody: nothing but what its id tells. */
export function publicNameOf(nodeId: string): string {
  return `public-${nodeId.slice(0, 8)}`
}
