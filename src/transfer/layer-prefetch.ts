import { LRUCache } from 'lru-cache'

import { isOperationError, messageOf } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { parseManifest } from '../oci/manifest.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { UpstreamIdentity, UpstreamRepository } from '../upstream/upstream.ts'
import type { BlobFetcher } from './blob-fetcher.ts'
import type { UpstreamRoute } from './upstream-route.ts'

/** An image that a client is pulling through the door. */
interface Pull {
  readonly repository: UpstreamRepository
  readonly layers: readonly Descriptor[]
  identity: UpstreamIdentity
  askedAtMs: number
  /** the lowest layer that a client asked for: it has those below */
  from: number
  isRunning: boolean
}

const MAX_PULLS = 64
const PULL_MS = 600_000
// Fetched ahead at once, besides what clients ask for.
const AHEAD = 3
// A client that asks for nothing more for this long has what it wants, or has gone.
const QUIET_MS = 30_000
// image-spec, Non-Distributable Layers: they need not be in the registry
const NOT_DISTRIBUTED = /nondistributable|foreign/

/**
 * Fetches the layers of an image that a client is about to ask for: an engine asks for three at a time. It begins
 * with the first layer that is asked for and goes upwards, since an engine does not ask for the layers that it has.
 */
export class LayerPrefetch {
  readonly #fetcher: BlobFetcher
  readonly #log: Log
  readonly #pulls = new LRUCache<Digest, Pull>({ max: MAX_PULLS, ttl: PULL_MS })
  readonly #stop = new AbortController()

  constructor({ fetcher, log = silentLog }: { fetcher: BlobFetcher; log?: Log }) {
    this.#fetcher = fetcher
    this.#log = log
  }

  /** A client was given the manifest of an image: its layers may be asked for next. */
  onManifest(
    digest: Digest,
    bytes: Uint8Array,
    { repository, identity }: { repository: UpstreamRepository; identity: UpstreamIdentity },
  ): void {
    const manifest = parseManifest(bytes)
    if (manifest.kind !== 'image') return
    const isRunning = this.#pulls.get(digest)?.isRunning ?? false
    const { layers } = manifest
    const pull = { repository, identity, layers, askedAtMs: Date.now(), from: layers.length }
    this.#pulls.set(digest, { ...pull, isRunning })
  }

  /**
   * A client asks for a blob of a repository: what follows it in its image is fetched too.
   * @returns its position among the layers of the image, where that is known
   */
  onBlob(
    digest: Digest,
    { repository, identity }: { repository: UpstreamRepository; identity: UpstreamIdentity },
  ): number | undefined {
    for (const pull of this.#pulls.values()) {
      if (!isSame(pull.repository, repository)) continue
      const at = pull.layers.findIndex((layer) => layer.digest === digest)
      if (at < 0) continue
      pull.askedAtMs = Date.now()
      pull.identity = identity
      pull.from = Math.min(pull.from, at)
      void this.#run(pull)
      return at
    }
    return undefined
  }

  close(): void {
    this.#stop.abort()
  }

  async #run(pull: Pull): Promise<void> {
    if (pull.isRunning) return
    pull.isRunning = true
    try {
      let next = pull.from + 1
      const lane = async () => {
        for (let at = next++; at < pull.layers.length && this.#goesOn(pull); at = next++) {
          await this.#fetch(pull, at)
        }
      }
      await Promise.all(Array.from({ length: AHEAD }, lane))
    } finally {
      pull.isRunning = false
    }
  }

  #goesOn(pull: Pull): boolean {
    const isRead = pull.layers.some(({ digest }) => this.#fetcher.isRead(digest))
    return !this.#stop.signal.aborted && (isRead || Date.now() - pull.askedAtMs < QUIET_MS)
  }

  async #fetch({ repository, identity, layers }: Pull, at: number): Promise<void> {
    const layer = layers[at]
    if (!layer || NOT_DISTRIBUTED.test(layer.mediaType)) return
    const route: UpstreamRoute = { repository, identity, kind: 'blob', order: at }
    const { digest, size } = layer
    try {
      await this.#fetcher.fetch(digest, { size, route, signal: this.#stop.signal })
    } catch (error) {
      if (isOperationError(error, 'BLOB_UNKNOWN')) return
      this.#log.debug({ digest, error: messageOf(error) }, 'a layer was not fetched ahead')
    }
  }
}

function isSame(a: UpstreamRepository, b: UpstreamRepository): boolean {
  return a.registry === b.registry && a.repository === b.repository
}
