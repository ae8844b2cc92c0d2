import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type {
  BlobContent,
  DoorClient,
  DoorName,
  ManifestContent,
  ReferrerEntry,
  RegistryBackend,
} from '../registry/registry-backend.ts'
import type { BlobFetcher } from '../transfer/blob-fetcher.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import type { ImageResolver } from '../transfer/image-resolver.ts'
import type { LayerPrefetch } from '../transfer/layer-prefetch.ts'
import type { UpstreamRoute } from '../transfer/upstream-route.ts'
import type { Upstream, UpstreamIdentity } from '../upstream/upstream.ts'
import type { ClientIdentities } from './client-identity.ts'

interface BackendParts {
  readonly resolver: ImageResolver
  readonly fetcher: BlobFetcher
  readonly access: ContentAccess
  readonly prefetch: LayerPrefetch
  readonly identities: ClientIdentities
  /** undefined where registries are not asked */
  readonly upstream?: Upstream | undefined
}

interface Asked {
  readonly signal: AbortSignal
  readonly client?: DoorClient
}

/** What stands behind the door: the store, the swarm and upstream. */
export class NodeBackend implements RegistryBackend {
  readonly #parts: BackendParts

  constructor(parts: BackendParts) {
    this.#parts = parts
  }

  async manifest(
    { name, tag, digest }: Parameters<RegistryBackend['manifest']>[0],
    { signal, client }: Asked,
  ): Promise<ManifestContent | undefined> {
    const { resolver, prefetch } = this.#parts
    const reference = { ...name, ...(tag !== undefined && { tag }), ...(digest && { digest }) }
    const identity = await this.#identityOf(name, client)
    try {
      const manifest = await resolver.find(reference, { signal, identity })
      if (manifest && name.scope === 'upstream') {
        prefetch.onManifest(manifest.digest, manifest.bytes, { repository: name, identity })
      }
      return manifest
    } catch (error) {
      // A blob that is asked for as a manifest: nobody has a manifest of that digest.
      if (error instanceof OperationError && error.code === 'MANIFEST_INVALID') return undefined
      throw error
    }
  }

  async blob(
    { name, digest }: Parameters<RegistryBackend['blob']>[0],
    { signal, client }: Asked,
  ): Promise<BlobContent | undefined> {
    const { fetcher, access } = this.#parts
    const identity = await this.#identityOf(name, client)
    const question = { repository: name, digest, kind: 'blob' as const, identity }
    const mayRead = () =>
      name.scope === 'upstream' ? access.mayRead(question) : access.isPrivate(digest).then(not)
    if (!(await mayRead())) return undefined
    const blob = await fetcher.open(digest, {
      signal,
      route: this.#routeOf(name, digest, identity),
    })
    // A peer may have said only now that it is private.
    if (!blob || !(await mayRead())) return undefined
    return blob
  }

  async tags(
    { name }: { name: DoorName },
    { signal, client }: Asked,
  ): Promise<readonly string[] | undefined> {
    const { resolver, upstream } = this.#parts
    if (name.scope === 'upstream' && upstream) {
      const identity = await this.#identityOf(name, client)
      const found = await upstream.tags(name, { identity, signal }).catch(() => undefined)
      if (found) return found.tags
    }
    const tags = await resolver.tags(name)
    return tags.length > 0 ? tags : undefined
  }

  /** As upstream lists them: an empty list of ours would end a client's search, and hide signatures. */
  async referrers(
    { name, digest }: { name: DoorName; digest: Digest },
    { signal, client }: Asked,
  ): Promise<readonly ReferrerEntry[] | undefined> {
    const { upstream } = this.#parts
    if (!upstream || name.scope !== 'upstream') return undefined
    const identity = await this.#identityOf(name, client)
    const found = await upstream.referrers(name, digest, { identity, signal })
    const { manifests } = asRecord(found && JSON.parse(found.bytes.toString())) ?? {}
    return Array.isArray(manifests)
      ? manifests.map(asRecord).filter((entry) => entry !== undefined)
      : undefined
  }

  #identityOf(name: DoorName, client: DoorClient | undefined): Promise<UpstreamIdentity> {
    return this.#parts.identities.of(client, name.registry)
  }

  #routeOf(name: DoorName, digest: Digest, identity: UpstreamIdentity): UpstreamRoute | undefined {
    if (name.scope !== 'upstream') return undefined
    const order = this.#parts.prefetch.onBlob(digest, { repository: name, identity })
    return { repository: name, identity, kind: 'blob', ...(order !== undefined && { order }) }
  }
}

function not(value: boolean): boolean {
  return !value
}
