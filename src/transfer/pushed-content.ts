import { Readable } from 'node:stream'

import type { Catalog } from '../catalog/catalog.ts'
import type { ImageBlob } from '../catalog/image-records.ts'
import { messageOf, OperationError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { childrenOf } from '../oci/manifest.ts'
import { isSha512Digest, sha512DigestOf, type Sha512Digest } from '../oci/sha512-digest.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { makeTorrent } from '../torrent/metainfo.ts'
import { pieceLength } from '../torrent/piece-length.ts'
import type { BlobTorrents } from './blob-torrents.ts'
import { PUSHED, type ImageRegister } from './image-register.ts'
import { parsePushedManifest, type ParsedPush } from './pushed-manifest.ts'
import {
  DEFAULT_PUSH_LIMITS,
  PushSessions,
  type KeepUpload,
  type PushLimits,
  type PushSession,
} from './push-sessions.ts'
import { PushRemoval } from './push-removal.ts'
import { PushedView } from './pushed-view.ts'
import { ReferrersIndex } from './referrers-index.ts'
import { repositoryKey, type RepositoryName } from './repository-key.ts'

type ContentDigest = Digest | Sha512Digest

interface PushedContentOptions {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly torrents: BlobTorrents
  readonly register: ImageRegister
  readonly nodeName: string
  /** of this node, hex */
  readonly nodeId: string
  readonly limits: Pick<PushLimits, 'maxBlobBytes'> & Partial<PushLimits>
  /** Whether content that a client did not bring itself may not be had through a name of its own choice. */
  readonly isPrivate?: (digest: Digest) => Promise<boolean>
  /** told of content that a client brought: it is shared on purpose */
  readonly onShared?: (digest: Digest) => Promise<void>
  /** Brings a blob here that a client did not push because it was told that it can be had. */
  readonly fetch?: (
    blob: Descriptor,
    options: { name: RepositoryName; signal: AbortSignal },
  ) => Promise<void>
  readonly log?: Log
}

interface PutManifestRequest {
  readonly name: RepositoryName
  readonly bytes: Uint8Array
  readonly tags: readonly string[]
  readonly digest?: ContentDigest
  readonly mediaType?: string
}

/**
 * What clients push to this node: kept, pinned, signed and announced before they are told so. A repository here is
 * a name in front of content that the store has once; what may be read under it is for {@link PushedView} to say.
 * Changes come one after the other, so that nothing is deleted while something that needs it is pushed.
 */
export class PushedContent implements AsyncDisposable {
  readonly maxBlobBytes: number
  readonly #options: PushedContentOptions
  readonly #log: Log
  readonly #sessions: PushSessions
  readonly #removal: PushRemoval
  readonly #referrers: ReferrersIndex
  readonly #changes = new KeyedLock()

  constructor(options: PushedContentOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    const limits = { ...DEFAULT_PUSH_LIMITS, ...options.limits }
    this.maxBlobBytes = limits.maxBlobBytes
    const keep: KeepUpload = (upload) => this.#keepUpload(upload)
    this.#sessions = new PushSessions({ store: options.store, limits, keep })
    this.#referrers = new ReferrersIndex({ ...options, view: new PushedView(options) })
    this.#removal = new PushRemoval({ ...options, referrers: this.#referrers })
  }

  refusalOf({ scope, nodeName }: RepositoryName): string | undefined {
    const isOwn = scope !== 'node' || nodeName === this.#options.nodeName
    return isOwn ? undefined : `only node ${nodeName} itself takes pushes for its images`
  }

  digestOf(alias: Sha512Digest): Promise<Digest | undefined> {
    return this.#options.catalog.aliases.get(alias)
  }

  beginUpload({ name }: { name: RepositoryName }): Promise<PushSession> {
    return this.#sessions.begin(repositoryKey(name))
  }

  upload({ name, id }: { name: RepositoryName; id: string }): PushSession | undefined {
    return this.#sessions.find(repositoryKey(name), id)
  }

  async mount({
    name,
    digest: stated,
    from,
  }: {
    name: RepositoryName
    digest: ContentDigest
    from?: RepositoryName
  }): Promise<boolean> {
    const digest = await this.#resolve(stated)
    if (!digest) return false
    return this.#change(async () => {
      if (!(await this.#isMountable(digest, from))) return false
      await this.#options.catalog.pushed.hold(repositoryKey(name), digest)
      return true
    })
  }

  async putManifest(
    request: PutManifestRequest,
    { signal }: { signal: AbortSignal },
  ): Promise<{ digest: Digest; subject?: string }> {
    const { name, bytes, mediaType } = request
    const digest = digestOf(bytes)
    checkDigest(request, digest)
    const parsed = await parsePushedManifest(bytes, {
      digestOf: (alias) => this.digestOf(alias),
      ...(mediaType !== undefined && { mediaType }),
    })
    const repository = repositoryKey(name)
    await this.#bringBlobs(parsed.needed, { name, signal })
    await this.#change(async () => {
      await this.#checkBlobs(parsed.needed, repository)
      await this.#keepManifest(request, { digest, parsed, repository })
    })
    this.#hashAhead(parsed.needed)
    return { digest, ...(parsed.subject !== undefined && { subject: parsed.subject }) }
  }

  async deleteManifest({
    name,
    tag,
    digest: stated,
  }: {
    name: RepositoryName
    tag?: string
    digest?: ContentDigest
  }): Promise<boolean> {
    if (tag !== undefined) return this.#change(() => this.#removal.removeTag(name, tag))
    const digest = stated && (await this.#resolve(stated))
    return digest ? this.#change(() => this.#removal.removeManifest(name, digest)) : false
  }

  async deleteBlob({
    name,
    digest: stated,
  }: {
    name: RepositoryName
    digest: ContentDigest
  }): Promise<boolean> {
    const digest = await this.#resolve(stated)
    if (!digest) return false
    return this.#change(() => this.#removal.removeBlob(repositoryKey(name), digest))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]()
  }

  async #keepUpload({ repository, upload, digest: stated }: Parameters<KeepUpload>[0]) {
    const { catalog, onShared } = this.#options
    if (isSha512Digest(stated)) await checkSha512(stated, upload)
    const prepared = await upload.prepare(isSha512Digest(stated) ? {} : { digest: stated })
    await this.#change(async () => {
      const { digest, size, pieceHashes: pieces } = await upload.commit(prepared)
      if (pieces && size > 0) await catalog.putTorrent(makeTorrent({ digest, size, pieces }))
      if (isSha512Digest(stated)) await catalog.aliases.put(stated, digest)
      await onShared?.(digest)
      await catalog.pushed.hold(repository, digest)
    })
  }

  /** A blob that is here, that the client may have, and that `from` has if that was named. */
  async #isMountable(digest: Digest, from: RepositoryName | undefined): Promise<boolean> {
    const { store, catalog, isPrivate } = this.#options
    if (!(await store.has(digest))) return false
    const source = from && repositoryKey(from)
    if (source !== undefined && (await catalog.pushed.isRepository(source))) {
      if (await catalog.pushed.isHeld(source, digest)) return true
      if ((await catalog.pushed.deletedAtMs(source, digest)) !== undefined) return false
    }
    return (await isPrivate?.(digest)) !== true
  }

  /** A client leaves out what it was told can be had; the swarm may have it, and not this node. */
  async #bringBlobs(
    needed: readonly Descriptor[],
    { name, signal }: { name: RepositoryName; signal: AbortSignal },
  ): Promise<void> {
    const { store, catalog, fetch } = this.#options
    const repository = repositoryKey(name)
    for (const blob of needed) {
      if (await store.has(blob.digest)) continue
      const isGone = (await catalog.pushed.deletedAtMs(repository, blob.digest)) !== undefined
      if (!fetch || isGone) throw missing(blob)
      try {
        await fetch(blob, { name, signal })
      } catch (cause) {
        signal.throwIfAborted()
        throw missing(blob, cause)
      }
    }
  }

  async #checkBlobs(needed: readonly Descriptor[], repository: string): Promise<void> {
    const { store, catalog, isPrivate } = this.#options
    for (const blob of needed) {
      const stored = await store.stat(blob.digest)
      if (!stored) throw missing(blob)
      if (stored.size !== blob.size) {
        const message = `manifest: blob ${blob.digest} has ${stored.size} bytes, it says ${blob.size}`
        throw new OperationError('MANIFEST_INVALID', message)
      }
      if (await catalog.pushed.isHeld(repository, blob.digest)) continue
      const isGone = (await catalog.pushed.deletedAtMs(repository, blob.digest)) !== undefined
      if (isGone || (await isPrivate?.(blob.digest)) === true) throw missing(blob)
    }
  }

  /** First the bytes, then what is known of them, then the names; each durable before the next. */
  async #keepManifest(
    { name, bytes, tags, digest: stated }: PutManifestRequest,
    { digest, parsed, repository }: { digest: Digest; parsed: ParsedPush; repository: string },
  ): Promise<void> {
    const { store, catalog, register, onShared } = this.#options
    const { mediaType } = parsed.manifest
    await store.ingest(Readable.from([bytes]), {
      digest,
      size: bytes.length,
      pieceLength: pieceLength(bytes.length),
    })
    await catalog.pin(digest, PUSHED)
    if (isSha512Digest(stated)) await catalog.aliases.put(stated, digest)
    if (parsed.subject !== undefined) await catalog.referrers.put(parsed.subject, digest)
    await onShared?.(digest)
    if (parsed.isForeign) await this.#noteForeign(digest, bytes.length, parsed)
    else await register.addManifest(digest, bytes)
    await catalog.pushed.hold(repository, digest)
    if (parsed.subject !== undefined) await this.#referrers.publish(name, parsed.subject)
    for (const tag of tags) {
      await register.addName({ ...name, tag }, { digest, mediaType, size: bytes.length })
      await catalog.pushed.putTag(repository, tag, digest)
    }
  }

  /** An image of which only this node can say what its digests mean. */
  async #noteForeign(digest: Digest, size: number, { manifest }: ParsedPush): Promise<void> {
    const role: ImageBlob['role'] = 'layer'
    const blobs = childrenOf(manifest).map((child) => ({ ...child, role }))
    const { mediaType } = manifest
    const addedAtMs = Date.now()
    await this.#options.register.addImage({ digest, mediaType, size, blobs, addedAtMs })
  }

  /** The torrents that are not made yet, so that the first peer need not wait for them. */
  #hashAhead(blobs: readonly Descriptor[]): void {
    const hash = async () => {
      for (const { digest, size } of blobs) {
        if (size > 0) await this.#options.torrents.torrentOf(digest)
      }
    }
    hash().catch((error: unknown) =>
      this.#log.debug({ error: messageOf(error) }, 'a torrent was not made ahead'),
    )
  }

  async #resolve(digest: ContentDigest): Promise<Digest | undefined> {
    return isSha512Digest(digest) ? this.digestOf(digest) : digest
  }

  #change<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#changes.run('', work)
  }
}

function checkDigest({ digest: stated, bytes }: PutManifestRequest, digest: Digest): void {
  if (stated === undefined) return
  const found = isSha512Digest(stated) ? sha512DigestOf(bytes) : digest
  if (found !== stated) throw mismatch(stated, found)
}

async function checkSha512(
  stated: Sha512Digest,
  upload: { sha512(): Promise<string> },
): Promise<void> {
  const found = `sha512:${await upload.sha512()}`
  if (found !== stated) throw mismatch(stated, found)
}

function mismatch(wanted: string, found: string): OperationError {
  const details = { wanted, found }
  return new OperationError('BLOB_DIGEST_MISMATCH', `wanted ${wanted}, got ${found}`, { details })
}

function missing({ digest }: Descriptor, cause?: unknown): OperationError {
  return new OperationError('BLOB_UNKNOWN', `manifest: blob ${digest} was not pushed`, {
    details: { digest },
    cause,
  })
}
