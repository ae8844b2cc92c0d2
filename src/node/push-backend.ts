import type { Catalog } from '../catalog/catalog.ts'
import type { Config } from '../config/options.ts'
import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { isSha512Digest } from '../oci/sha512-digest.ts'
import type {
  BlobContent,
  DoorName,
  ManifestContent,
  ManifestRequest,
  ReferrerEntry,
  RegistryBackend,
  RepositoryRequest,
} from '../registry/registry-backend.ts'
import type { RegistryContent } from '../registry/registry-content.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { deadline } from '../support/deadline.ts'
import type { Log } from '../telemetry/log.ts'
import type { BlobFetcher } from '../transfer/blob-fetcher.ts'
import type { BlobTorrents } from '../transfer/blob-torrents.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import type { ImageRegister } from '../transfer/image-register.ts'
import type { ImageResolver } from '../transfer/image-resolver.ts'
import { PushedContent } from '../transfer/pushed-content.ts'
import { readDocument } from '../transfer/pushed-manifest.ts'
import { PushedView, type TagMeaning } from '../transfer/pushed-view.ts'
import { isReferrersTag, referrersTag } from '../transfer/referrers-index.ts'

type Asked = Parameters<RegistryBackend['manifest']>[1]

interface PushBackendOptions {
  /** what answers for all that was not pushed here */
  readonly inner: RegistryBackend
  readonly content: RegistryContent
  readonly view: PushedView
  /** opens a blob that was pushed, whoever asks: who pushed it shared it */
  readonly openHeld: (
    digest: Digest,
    options: { signal: AbortSignal },
  ) => Promise<BlobContent | undefined>
  /** asks the swarm what a tag means; what it says is in the catalog afterwards */
  readonly askSwarm: (
    reference: DoorName & { tag: string },
    options: { signal: AbortSignal },
  ) => Promise<unknown>
  /** whether registries are asked: if not, nobody but this node can say what refers to a manifest */
  readonly hasUpstream: boolean
  /** of this node, hex */
  readonly nodeId: string
}

// How long upstream may take to list referrers, where this node has an answer of its own.
const UPSTREAM_REFERRERS_MS = 10_000
// A client that was told that a blob can be had waits for its manifest as long as this.
const FETCH_MS = 10 * 60_000

/**
 * The repositories that clients pushed to, in front of everything else: what was pushed is served, what was deleted
 * is not, and this node speaks for them like a registry. What was pushed to a name with an upstream counts before
 * the upstream, unless the client asks for that one by `ns`.
 */
export class PushBackend implements RegistryBackend {
  readonly content: RegistryContent
  readonly #options: PushBackendOptions

  constructor(options: PushBackendOptions) {
    this.content = options.content
    this.#options = options
  }

  async manifest(request: ManifestRequest, asked: Asked): Promise<ManifestContent | undefined> {
    const { inner, view } = this.#options
    const { name } = request
    if (!(await this.#isPushedTo(request))) return inner.manifest(request, asked)
    const meaning = await this.#meaningOf(request, asked)
    if (meaning.kind !== 'held') {
      return meaning.kind === 'deleted' ? undefined : inner.manifest(request, asked)
    }
    if (await view.isDeleted(name, meaning.digest)) return undefined
    const held = await view.manifest(name, meaning.digest)
    return held ?? inner.manifest(request, asked)
  }

  async blob(
    request: Parameters<RegistryBackend['blob']>[0],
    asked: Asked,
  ): Promise<BlobContent | undefined> {
    const { inner, view, openHeld } = this.#options
    const { name, digest } = request
    if (!(await this.#isPushedTo(request))) return inner.blob(request, asked)
    if (await view.isDeleted(name, digest)) return undefined
    return (await view.hasBlob(name, digest)) ? openHeld(digest, asked) : inner.blob(request, asked)
  }

  async tags(request: RepositoryRequest, asked: Asked): Promise<readonly string[] | undefined> {
    const { inner, view } = this.#options
    const { name } = request
    const isPushedTo = await this.#isPushedTo(request)
    const pushed = isPushedTo ? await view.pushedTags(name) : []
    if (isPushedTo && name.scope === 'upstream') return pushed
    const all = await inner.tags(request, asked)
    // What nodes list of their own under such tags are no versions of anything.
    const known = all?.filter((tag) => name.scope === 'upstream' || !isReferrersTag(tag))
    if (!isPushedTo || !known) return isPushedTo ? pushed : known
    const meanings = await Promise.all(known.map((tag) => view.newestTag(name, tag)))
    const heard = known.filter((_, index) => meanings[index]?.kind === 'held')
    return [...new Set([...pushed, ...heard])]
  }

  async referrers(
    request: Parameters<NonNullable<RegistryBackend['referrers']>>[0],
    asked: Asked,
  ): Promise<readonly ReferrerEntry[] | undefined> {
    const { inner, view, hasUpstream } = this.#options
    const { name, digest: stated, isMirrored } = request
    const digest = isSha512Digest(stated) ? await this.content.digestOf(stated) : stated
    const isAlone = name.scope !== 'upstream' || (!hasUpstream && !isMirrored)
    const isOurs = isAlone || (await this.#isPushedTo(request))
    if (!isOurs) {
      if (!isAskedAsRegistry(request)) return inner.referrers?.(request, asked)
      const told = await this.#toldUpstream(request, asked)
      if (told) return told
    }
    const found = [
      ...(await view.referrers(name, stated)),
      ...(digest ? await view.referrers(name, digest) : []),
      ...(digest ? await this.#taggedReferrers({ name, digest }, asked) : []),
    ]
    return [...new Map(found.toReversed().map((entry) => [entry['digest'], entry])).values()]
  }

  /** undefined where upstream cannot be reached too: what is not known to anybody is no failure here. */
  async #toldUpstream(
    request: Parameters<NonNullable<RegistryBackend['referrers']>>[0],
    asked: Asked,
  ): Promise<readonly ReferrerEntry[] | undefined> {
    const signal = deadline(UPSTREAM_REFERRERS_MS, asked.signal)
    try {
      return await this.#options.inner.referrers?.(request, { ...asked, signal })
    } catch {
      asked.signal.throwIfAborted()
      return undefined
    }
  }

  /** A client that names the upstream means what is there. */
  async #isPushedTo({ name, isMirrored }: RepositoryRequest): Promise<boolean> {
    return isMirrored !== true && (await this.#options.view.isPushedTo(name))
  }

  async #meaningOf({ name, tag, digest }: ManifestRequest, asked: Asked): Promise<TagMeaning> {
    const { view, askSwarm } = this.#options
    if (digest) return { kind: 'held', digest }
    if (tag === undefined) return { kind: 'unknown' }
    if (name.scope === 'upstream') return view.pushedTag(name, tag)
    await askSwarm({ ...name, tag }, asked)
    return view.newestTag(name, tag)
  }

  /** What a client listed itself, and what other nodes list, under the tag that stands in for this API. */
  async #taggedReferrers(
    { name, digest }: { name: DoorName; digest: Digest },
    asked: Asked,
  ): Promise<ReferrerEntry[]> {
    const { view, askSwarm, hasUpstream, nodeId } = this.#options
    const tag = referrersTag(digest)
    const pushed = await view.pushedTag(name, tag)
    const mayHear = name.scope !== 'upstream' || !hasUpstream
    if (mayHear) await askSwarm({ ...name, tag }, asked)
    const indexes = [
      ...(pushed.kind === 'held' ? [pushed.digest] : []),
      ...(mayHear ? await view.heardTag(name, tag, nodeId) : []),
    ]
    const lists = await Promise.all(indexes.map((index) => this.#entriesOf(name, index, asked)))
    return lists.flat()
  }

  /** The entries of an image index, but for what was deleted here. */
  async #entriesOf(name: DoorName, digest: Digest, asked: Asked): Promise<ReferrerEntry[]> {
    const index = await this.manifest({ name, digest }, asked)
    if (index?.mediaType !== MEDIA_TYPES.ociIndex) return []
    const { manifests } = readDocument(index.bytes) ?? {}
    const entries: ReferrerEntry[] = []
    for (const value of Array.isArray(manifests) ? manifests : []) {
      const entry = asRecord(value)
      if (!entry || !isDigest(entry['digest'])) continue
      if (!(await this.#options.view.isDeleted(name, entry['digest']))) entries.push(entry)
    }
    return entries
  }
}

/**
 * Whether a client takes this node for the registry itself, which answers with a list, if only an empty one: it named
 * no upstream, neither by `ns` nor by a host. Engines that have this node as their mirror do the one or the other.
 */
function isAskedAsRegistry({ name, isMirrored }: RepositoryRequest): boolean {
  return isMirrored !== true && name.registry === 'docker.io'
}

/** Everything of the push side, in front of `inner`. */
export function openPushBackend({
  inner,
  rooms,
  config,
  ...parts
}: {
  inner: RegistryBackend
  rooms: AsyncDisposableStack
  config: Config
  nodeId: string
  store: BlobStore
  catalog: Catalog
  torrents: BlobTorrents
  register: ImageRegister
  access: ContentAccess
  fetcher: BlobFetcher
  resolver: ImageResolver
  log: Log
}): PushBackend {
  const { access, fetcher, resolver, nodeId } = parts
  const content = rooms.use(
    new PushedContent({
      ...parts,
      nodeName: config.nodeName,
      limits: { maxBlobBytes: config.maxPushBytes },
      isPrivate: (digest) => access.isPrivate(digest),
      onShared: (digest) => access.onShared(digest),
      fetch: ({ digest, size }, { name, signal }) =>
        fetcher.fetch(digest, {
          size,
          signal: deadline(FETCH_MS, signal),
          // What anybody may have upstream: by whose right a client pushes is not known.
          route:
            name.scope === 'upstream'
              ? { repository: name, identity: { kind: 'anonymous' }, kind: 'blob' }
              : undefined,
        }),
    }),
  )
  return new PushBackend({
    inner,
    content,
    view: new PushedView(parts),
    openHeld: (digest, options) => fetcher.open(digest, options),
    askSwarm: (reference, options) => resolver.resolve(reference, options),
    hasUpstream: config.upstream,
    nodeId,
  })
}
