import { createHash } from 'node:crypto'

import { LRUCache } from 'lru-cache'

import type { Catalog } from '../catalog/catalog.ts'
import type { PrivateContent } from '../catalog/private-content.ts'
import { isOperationError, messageOf } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type {
  Upstream,
  UpstreamAccess,
  UpstreamIdentity,
  UpstreamRepository,
} from '../upstream/upstream.ts'

interface ContentAccessOptions {
  readonly catalog: Catalog
  readonly privateContent: PrivateContent
  /** undefined where registries are not asked: then nobody can show a right */
  readonly upstream?: Upstream | undefined
  /** how long a right counts after upstream confirmed it, milliseconds */
  readonly lifetimeMs: number
  /** told when content is marked as private, before a byte of it is given out */
  readonly onPrivate?: (digest: Digest) => void
  readonly log?: Log
}

interface Question {
  readonly repository: UpstreamRepository
  readonly digest: Digest
  readonly kind: 'manifest' | 'blob'
  readonly identity: UpstreamIdentity
}

const MAX_GRANTS = 10_000

/**
 * Who may have what of the content that this node holds. What anybody may read upstream, and what was imported or
 * seeded on purpose, is open. What a registry gave for a credential is private: it is given under the name of a
 * repository that has it, to an identity that the registry let in there a short while ago, and under no other name.
 */
export class ContentAccess {
  readonly #options: ContentAccessOptions
  readonly #log: Log
  readonly #grants: LRUCache<string, true>
  /** manifests and blobs that anybody could read upstream a short while ago */
  readonly #public: LRUCache<Digest, true>
  readonly #asking = new SingleFlight<boolean>()

  constructor(options: ContentAccessOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    const ttl = Math.max(1, options.lifetimeMs)
    this.#grants = new LRUCache({ max: MAX_GRANTS, ttl })
    this.#public = new LRUCache({ max: MAX_GRANTS, ttl })
  }

  /** Whether content is private: it, or every image that it is below, was given for a credential only. */
  async isPrivate(digest: Digest): Promise<boolean> {
    const { privateContent, catalog } = this.#options
    if (privateContent.isEmpty) return false
    if (privateContent.has(digest)) return true
    const images = await catalog.imagesWithBlob(digest)
    return images.length > 0 && images.every((image) => privateContent.has(image))
  }

  /** A registry gave content out, to anybody or to this identity. */
  async onGiven(
    { repository, digest, kind, identity }: Question,
    access: UpstreamAccess,
  ): Promise<void> {
    const { privateContent } = this.#options
    if (access === 'public') {
      this.#public.set(digest, true)
      await privateContent.remove(digest)
      return
    }
    this.#grants.set(grantKey(repository, identity), true)
    if (kind === 'manifest' || !(await this.isPrivate(digest))) {
      await this.#mark(digest, nameOf(repository))
    }
  }

  async #mark(digest: Digest, repository?: string): Promise<void> {
    const { privateContent, onPrivate } = this.#options
    const isNew = !privateContent.has(digest)
    await privateContent.add(digest, repository)
    if (isNew) onPrivate?.(digest)
  }

  /** Somebody who may share it did so on purpose: an import, a seed, a push. */
  async onShared(digest: Digest): Promise<void> {
    await this.#options.privateContent.remove(digest)
  }

  /**
   * Whether content that a peer holds as private may be taken here for this identity. So it is private here too,
   * unless upstream has just given it to everybody.
   */
  async mayTake(question: Question): Promise<boolean> {
    const { digest } = question
    const images = await this.#options.catalog.imagesWithBlob(digest)
    if ([digest, ...images].some((one) => this.#public.has(one))) return true
    if (!(await this.isPrivate(digest))) await this.#mark(digest)
    return this.mayRead(question)
  }

  /** Whether the identity was let into the repository a short while ago. */
  hasGrant(repository: UpstreamRepository, identity: UpstreamIdentity): boolean {
    return this.#options.lifetimeMs > 0 && this.#grants.has(grantKey(repository, identity))
  }

  /** Whether content that is here, or on its way, may be given out under this name to this identity. */
  async mayRead(question: Question): Promise<boolean> {
    if (!(await this.isPrivate(question.digest))) return true
    const { repository, digest, identity } = question
    if (this.hasGrant(repository, identity) && (await this.#isKnownIn(repository, digest))) {
      return true
    }
    const key = `${grantKey(repository, identity)} ${digest}`
    return this.#asking.run(key, () => this.#ask(question))
  }

  async #isKnownIn(repository: UpstreamRepository, digest: Digest): Promise<boolean> {
    const { privateContent, catalog } = this.#options
    const name = nameOf(repository)
    if (privateContent.repositoriesOf(digest).has(name)) return true
    const images = await catalog.imagesWithBlob(digest)
    return images.some((image) => privateContent.repositoriesOf(image).has(name))
  }

  /** Asks the registry itself; where it does not answer, nobody has shown a right. */
  async #ask(question: Question): Promise<boolean> {
    const { upstream } = this.#options
    const { repository, digest, kind, identity } = question
    if (!upstream) return false
    try {
      const content = { kind, digest }
      const signal = AbortSignal.timeout(10_000)
      const access = await upstream.has(repository, content, { identity, signal })
      if (!access) return false
      await this.onGiven(question, access)
      return true
    } catch (error) {
      if (!isOperationError(error, 'UPSTREAM_DENIED')) {
        this.#log.info(
          { repository: nameOf(repository), error: messageOf(error) },
          'upstream does not say who may read private content: it is not given out',
        )
      }
      return false
    }
  }
}

/** `registry/repository`. */
export function nameOf({ registry, repository }: UpstreamRepository): string {
  return `${registry}/${repository}`
}

/** Tells identities apart without keeping what a client sent. */
export function identityKey(identity: UpstreamIdentity): string {
  return identity.kind === 'client'
    ? createHash('sha256').update(identity.authorization).digest('hex')
    : identity.kind
}

function grantKey(repository: UpstreamRepository, identity: UpstreamIdentity): string {
  return `${identityKey(identity)} ${nameOf(repository)}`
}
