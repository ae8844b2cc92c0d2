import type { Catalog } from '../catalog/catalog.ts'
import { messageOf, OperationError } from '../errors.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import { REFERENCE_LIFETIME_MS } from '../membership/reference-record.ts'
import type { RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Digest } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { pause } from '../support/pause.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { UpstreamAccess, UpstreamIdentity } from '../upstream/upstream.ts'
import type { BlobFetcher, ReadableBlob } from './blob-fetcher.ts'
import type { ContentAccess } from './content-access.ts'
import type { ImageRegister } from './image-register.ts'
import type { PeerFinder } from './peer-finder.ts'
import { readSmallBlob } from './store-sink.ts'
import { SwarmNames, type RecordedMeaning } from './swarm-names.ts'
import type { UpstreamRoute } from './upstream-route.ts'
import type { TagAnswer, UpstreamTags } from './upstream-tags.ts'

interface ImageResolverOptions {
  readonly catalog: Catalog
  readonly store: BlobStore
  readonly fetcher: BlobFetcher
  readonly finder: PeerFinder
  readonly client: PeerQuestions
  readonly register: ImageRegister
  readonly access: ContentAccess
  /** undefined where registries are not asked */
  readonly upstreamTags?: UpstreamTags | undefined
  /** whether records may say what a name means while upstream cannot be reached */
  readonly offlineTags: boolean
  readonly identity: NodeIdentity
  readonly isPublic: boolean
  readonly keys: RendezvousKeys
  readonly swarmKeys: SwarmKeys
  readonly log?: Log
}

/** The exact bytes of a manifest. */
export interface ResolvedManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
  /** why a signed record, and not upstream, said what the name means, or that it is old */
  readonly notice?: string
}

/** What a name means, and who said so. */
interface Meaning {
  readonly digest: Digest
  /** of the manifest, bytes, where a record says it */
  readonly size?: number
  /** where upstream said it */
  readonly access?: UpstreamAccess
  readonly notice?: string
}

/** On whose behalf something is looked up. */
export interface AskOptions {
  readonly signal: AbortSignal
  /** this node itself where it is left out */
  readonly identity?: UpstreamIdentity
}

const NODE_ITSELF: UpstreamIdentity = { kind: 'node' }

const RESOLVE_MS = 2500
const ATTEMPTS = 3
const PAUSE_MS = 500
// An upstream that takes longer is overtaken by a record, if there is one.
const UPSTREAM_PATIENCE_MS = 1500
// Both together stay below three seconds: a client with another host to ask goes on to it.
const STAND_IN_MS = 1400

/**
 * What a name means. Upstream decides for the names of registries while it answers; signed records stand in for
 * it, and decide for names without an upstream: the newest wins, and one that goes back in sequence is refused by
 * the catalog.
 */
export class ImageResolver {
  readonly #options: ImageResolverOptions
  readonly #log: Log
  readonly #names: SwarmNames

  constructor(options: ImageResolverOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    const asksUpstream = options.upstreamTags !== undefined
    this.#names = new SwarmNames({ ...options, asksUpstream, log: this.#log })
  }

  /** The digest a reference means, or undefined where nobody says. */
  async resolve(reference: Reference, options: AskOptions): Promise<Digest | undefined> {
    return (await this.#meaningOf(reference, options))?.digest
  }

  /** The manifest a reference means, if it may be given to who asks; this node can say so from now on. */
  async find(reference: Reference, options: AskOptions): Promise<ResolvedManifest | undefined> {
    const meaning = await this.#meaningOf(reference, options)
    if (!meaning) return undefined
    const { digest, size, access, notice } = meaning
    const manifest = await this.manifest(digest, { ...options, reference, size })
    if (!manifest) return access && this.#insteadOf(digest, reference, options)
    // The answer need not wait for the disk that keeps the name and the image.
    void this.#keep(reference, manifest, access).catch((error: unknown) => {
      this.#log.warn(
        { reference: formatReference(reference), error: messageOf(error) },
        'a name is not kept',
      )
    })
    return { ...manifest, ...(notice !== undefined && { notice }) }
  }

  /** Upstream says that the name means a manifest which it does not have: a record may know better. */
  async #insteadOf(
    digest: Digest,
    reference: Reference,
    options: AskOptions,
  ): Promise<ResolvedManifest | undefined> {
    if (!this.#options.offlineTags) return undefined
    const recorded = await this.#recorded(reference, options.signal, STAND_IN_MS)
    if (!recorded || recorded.digest === digest) return undefined
    const reason = `${reference.registry} says that it is ${digest}, and does not have it`
    const { size, notice } = this.#standIn(reference, recorded, reason)
    const manifest = await this.manifest(recorded.digest, { ...options, reference, size })
    return manifest && { ...manifest, notice }
  }

  /**
   * The manifest of a digest, if it may be given to who asks: from the store, else from upstream and the nodes
   * that hold it.
   * @param options.reference the name under which it is asked for
   * @param options.size bytes, where it is known: who offers another size is not asked for it
   */
  async manifest(
    digest: Digest,
    {
      signal,
      identity = NODE_ITSELF,
      reference,
      size,
    }: AskOptions & { reference: Reference; size?: number | undefined },
  ): Promise<ResolvedManifest | undefined> {
    const { store, fetcher, register, access } = this.#options
    const question = { digest, kind: 'manifest' as const, identity }
    const route = this.#routeOf(reference, identity)
    const blob = (await store.has(digest))
      ? undefined
      : await fetcher.open(digest, { signal, route, size, maxBytes: MAX_MANIFEST_BYTES })
    if (!blob && !(await store.has(digest))) return undefined
    if (!(await access.mayRead({ ...question, repository: reference }))) return undefined
    const bytes = blob ? await readWhole(blob, signal) : await readSmallBlob(store, digest)
    const { mediaType } = await register.addManifest(digest, bytes, { sync: false })
    return { digest, mediaType, bytes }
  }

  /**
   * The manifest a reference means; asks again for a moment, as nodes that have just started have yet to meet.
   * @throws OperationError IMAGE_UNKNOWN
   */
  async require(reference: Reference, options: AskOptions): Promise<ResolvedManifest> {
    const { signal } = options
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const manifest = await this.find(reference, options)
      if (manifest) return manifest
      if (attempt < ATTEMPTS) await pause(PAUSE_MS, signal)
      signal.throwIfAborted()
    }
    const digest = await this.resolve(reference, options)
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

  async #meaningOf(
    reference: Reference,
    { signal, identity = NODE_ITSELF }: AskOptions,
  ): Promise<Meaning | undefined> {
    const { digest, tag, scope } = reference
    if (digest) return { digest }
    const { upstreamTags } = this.#options
    if (!upstreamTags || scope !== 'upstream' || tag === undefined) {
      const recorded = await this.#recorded(reference, signal, RESOLVE_MS)
      return recorded && this.#byRecord(reference, recorded)
    }
    const asked = upstreamTags.resolve(reference, tag, { identity, signal })
    const answer = await within(asked, UPSTREAM_PATIENCE_MS)
    if (answer?.kind === 'found') return answer
    const reason = answer?.reason ?? `${reference.registry} does not answer in time`
    const isOut = answer === undefined || answer.kind === 'unreachable'
    const mayStandIn = !isOut || this.#options.offlineTags
    const said = isOut ? upstreamTags.lastSaid(reference, tag, identity) : undefined
    const standIn = !mayStandIn
      ? undefined
      : said
        ? { digest: said }
        : await this.#recorded(reference, signal, STAND_IN_MS)
    if (standIn) return this.#standIn(reference, standIn, reason)
    // Nobody else knows: upstream may take its time.
    return this.#afterAll(await asked)
  }

  async #recorded(
    reference: Reference,
    signal: AbortSignal,
    limitMs: number,
  ): Promise<RecordedMeaning | undefined> {
    return await this.#names.meaningOf(reference, { signal, limitMs })
  }

  /** What nobody has vouched for lately still counts, but not without a word (TUF, indefinite freeze attack). */
  #byRecord(reference: Reference, { digest, size, expiresAtMs }: RecordedMeaning): Meaning {
    if (expiresAtMs >= Date.now()) return { digest, size }
    const name = formatReference(reference)
    const since = new Date(expiresAtMs - REFERENCE_LIFETIME_MS).toISOString()
    this.#log.warn({ reference: name, digest, since }, 'a signed record is old')
    const notice = `${name} is what a signed record says that nobody has confirmed since ${since}`
    return { digest, size, notice }
  }

  #standIn(
    reference: Reference,
    { digest, size }: Pick<Meaning, 'digest' | 'size'>,
    reason: string,
  ): Meaning & { notice: string } {
    const name = formatReference(reference)
    this.#log.warn({ reference: name, digest, reason }, 'a signed record stands in for upstream')
    const notice = `${name} is what a signed record says: ${reason}`
    return { digest, ...(size !== undefined && { size }), notice }
  }

  /** @throws OperationError UPSTREAM_…: what a person wants to know of a failed pull */
  #afterAll(answer: TagAnswer): Meaning | undefined {
    if (answer.kind === 'found') return answer
    if (answer.kind === 'unknown') return undefined
    throw new OperationError(answer.code, answer.reason)
  }

  async #keep(
    reference: Reference,
    manifest: ResolvedManifest,
    access: UpstreamAccess | undefined,
  ): Promise<void> {
    await this.#noteName(reference, manifest, access)
    await this.#options.catalog.sync()
  }

  /** What anybody may know of a name upstream, this node signs for. */
  async #noteName(
    reference: Reference,
    { digest, mediaType, bytes }: ResolvedManifest,
    access: UpstreamAccess | undefined,
  ): Promise<void> {
    const { register } = this.#options
    if (reference.tag === undefined || reference.digest) return
    if (access === 'public')
      await register.addName(reference, { digest, mediaType, size: bytes.length })
    else if (access === undefined) register.announceName(reference)
  }

  #routeOf(reference: Reference, identity: UpstreamIdentity): UpstreamRoute | undefined {
    if (reference.scope !== 'upstream') return undefined
    return { repository: reference, identity, kind: 'manifest' }
  }
}

/** A manifest as soon as it is proven, which may be before it is durable. */
async function readWhole(blob: ReadableBlob, signal: AbortSignal): Promise<Buffer> {
  if (blob.size > MAX_MANIFEST_BYTES) {
    throw new OperationError(
      'MANIFEST_INVALID',
      `manifest: wanted at most ${MAX_MANIFEST_BYTES} bytes, found ${blob.size}`,
    )
  }
  const chunks = await Array.fromAsync(blob.read({ start: 0, end: blob.size - 1 }, { signal }))
  return Buffer.concat(chunks)
}

/** undefined where the work takes longer. */
async function within<Result>(work: Promise<Result>, limitMs: number): Promise<Result | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => resolve(undefined), limitMs)
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
