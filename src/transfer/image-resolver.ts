import type { Catalog } from '../catalog/catalog.ts'
import { messageOf, OperationError } from '../errors.ts'
import { parseReferenceRecord, type SignedReferenceRecord } from '../membership/reference-record.ts'
import type { RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { Digest } from '../oci/digest.ts'
import { canonicalName, formatReference, type Reference } from '../oci/reference.ts'
import type { PeerClient } from '../peering/peer-client.ts'
import type { KnownPeer } from '../peering/peer-directory.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { abortable } from '../support/deadline.ts'
import { pause } from '../support/pause.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { BlobFetcher } from './blob-fetcher.ts'
import type { ImageRegister } from './image-register.ts'
import { addressOf, type PeerFinder } from './peer-finder.ts'
import { readSmallBlob } from './store-sink.ts'

interface ImageResolverOptions {
  readonly catalog: Catalog
  readonly store: BlobStore
  readonly fetcher: BlobFetcher
  readonly finder: PeerFinder
  readonly client: PeerClient
  readonly register: ImageRegister
  readonly keys: RendezvousKeys
  readonly swarmKey: SwarmKey
  readonly log?: Log
}

/** The exact bytes of a manifest. */
export interface ResolvedManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
}

// Once one node has answered, others get this long to say something newer; without an answer, the whole time.
const SETTLE_MS = 300
const RESOLVE_MS = 2500
// HEAD by tag, GET by tag, GET by digest: one pull asks several times.
const FRESH_MS = 2000
const ATTEMPTS = 3
const PAUSE_MS = 500

/**
 * What a name means: among the swarm's nodes the newest signed record decides (upstream will decide for its own
 * names, and records only stand in). Records that go back in sequence are refused by the catalog.
 */
export class ImageResolver {
  readonly #options: ImageResolverOptions
  readonly #log: Log
  readonly #resolving = new SingleFlight<Digest | undefined>()
  readonly #fresh = new Map<string, { digest: Digest; atMs: number }>()

  constructor(options: ImageResolverOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
  }

  /** The digest a reference means, or undefined where no node says. */
  async resolve(
    reference: Reference,
    { signal }: { signal: AbortSignal },
  ): Promise<Digest | undefined> {
    if (reference.digest) return reference.digest
    const key = formatReference(reference)
    const fresh = this.#fresh.get(key)
    if (fresh && Date.now() - fresh.atMs < FRESH_MS) return fresh.digest
    const shared = this.#resolving.run(key, () =>
      this.#newest(reference, new AbortController().signal),
    )
    const digest = await abortable(shared, signal)
    if (digest) this.#remember(key, digest)
    return digest
  }

  /** The manifest a reference means; this node can say so from now on. */
  async find(
    reference: Reference,
    { signal }: { signal: AbortSignal },
  ): Promise<ResolvedManifest | undefined> {
    const digest = await this.resolve(reference, { signal })
    const manifest = digest && (await this.manifest(digest, { signal }))
    if (manifest && reference.tag !== undefined) this.#options.register.announceName(reference)
    return manifest
  }

  /** The manifest of a digest: from the store, else from the nodes that hold it. */
  async manifest(
    digest: Digest,
    { signal }: { signal: AbortSignal },
  ): Promise<ResolvedManifest | undefined> {
    const { store, fetcher, register } = this.#options
    if (!(await store.has(digest))) {
      const blob = await fetcher.open(digest, { signal })
      if (!blob) return undefined
      await fetcher.fetch(digest, { signal })
    }
    const bytes = await readSmallBlob(store, digest)
    const { mediaType } = await register.addManifest(digest, bytes)
    return { digest, mediaType, bytes }
  }

  /**
   * The manifest a reference means; asks again for a moment, as nodes that have just started have yet to meet.
   * @throws OperationError IMAGE_UNKNOWN
   */
  async require(
    reference: Reference,
    { signal }: { signal: AbortSignal },
  ): Promise<ResolvedManifest> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const manifest = await this.find(reference, { signal })
      if (manifest) return manifest
      if (attempt < ATTEMPTS) await pause(PAUSE_MS, signal)
      signal.throwIfAborted()
    }
    const digest = await this.resolve(reference, { signal })
    throw new OperationError(
      'IMAGE_UNKNOWN',
      digest
        ? `image "${formatReference(reference)}": it is ${digest}, which no node that can be found holds`
        : `image "${formatReference(reference)}": no node that can be found knows the name`,
    )
  }

  /** Tags of a repository that are known here. */
  async tags(repository: Reference): Promise<string[]> {
    const prefix = `${repository.registry}/${repository.repository}:`
    const tags = new Set<string>()
    for await (const { name, nodeName } of this.#options.catalog.allReferences()) {
      if (!name.startsWith(prefix)) continue
      if (repository.scope === 'node' && nodeName !== repository.nodeName) continue
      tags.add(name.slice(prefix.length))
    }
    return [...tags]
  }

  async #newest(reference: Reference, signal: AbortSignal): Promise<Digest | undefined> {
    const name = canonicalName(reference)
    await this.#askPeers(reference, name, signal)
    const records = (await this.#options.catalog.references(name)).filter(
      ({ nodeName }) => reference.scope !== 'node' || nodeName === reference.nodeName,
    )
    const newest = records.reduce<SignedReferenceRecord | undefined>(
      (best, record) => (!best || isNewer(record, best) ? record : best),
      undefined,
    )
    return newest?.digest
  }

  /** Asks all peers that can be found; what proves sound is in the catalog afterwards. */
  async #askPeers(reference: Reference, name: string, signal: AbortSignal): Promise<void> {
    const { catalog, finder, keys } = this.#options
    const stop = new AbortController()
    const stopping = AbortSignal.any([stop.signal, signal, AbortSignal.timeout(RESOLVE_MS)])
    const settle = () => setTimeout(() => stop.abort(), SETTLE_MS)
    let settling = (await catalog.references(name)).length > 0 ? settle() : undefined
    const asking: Promise<void>[] = []
    const search = (async () => {
      for await (const peer of finder.peersFor([keys.reference(name)], { signal: stopping })) {
        asking.push(
          this.#askPeer(peer, name, stopping).then((isHelpful) => {
            if (isHelpful) settling ??= settle()
          }),
        )
      }
      await Promise.all(asking)
    })()
    const stopped = new Promise<void>((resolve) => {
      stopping.addEventListener('abort', () => resolve(), { once: true })
    })
    try {
      await Promise.race([search, stopped])
      signal.throwIfAborted()
    } catch (error) {
      signal.throwIfAborted()
      if (!stopping.aborted)
        this.#log.debug(
          { reference: formatReference(reference), error: messageOf(error) },
          'search for a name failed',
        )
    } finally {
      clearTimeout(settling)
      stop.abort()
      search.catch(() => {})
    }
  }

  /** @returns whether the peer had something to say */
  async #askPeer(peer: KnownPeer, name: string, signal: AbortSignal): Promise<boolean> {
    const { client, catalog, swarmKey } = this.#options
    try {
      const records = await client.references(addressOf(peer), [name], { signal, timeoutMs: 2000 })
      for (const value of records) {
        const record = parseReferenceRecord(value, { swarmKey })
        if (record.name === name) await catalog.putReference(record)
      }
      return records.length > 0
    } catch (error) {
      if (!signal.aborted) {
        this.#log.debug(
          { peer: peer.nodeName, error: messageOf(error) },
          'a peer did not say what a name means',
        )
      }
      return false
    }
  }

  #remember(key: string, digest: Digest): void {
    this.#fresh.delete(key)
    this.#fresh.set(key, { digest, atMs: Date.now() })
    const [oldest] = this.#fresh.keys()
    if (this.#fresh.size > 1000 && oldest !== undefined) this.#fresh.delete(oldest)
  }
}

function isNewer(a: SignedReferenceRecord, b: SignedReferenceRecord): boolean {
  return a.sequence === b.sequence ? a.nodeId > b.nodeId : a.sequence > b.sequence
}
