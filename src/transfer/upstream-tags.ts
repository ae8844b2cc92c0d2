import { LRUCache } from 'lru-cache'

import { isOperationError, messageOf, type ErrorCode } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { abortable, deadline } from '../support/deadline.ts'
import { SingleFlight } from '../support/single-flight.ts'
import type {
  Upstream,
  UpstreamAccess,
  UpstreamIdentity,
  UpstreamRepository,
} from '../upstream/upstream.ts'
import { identityKey, nameOf, type ContentAccess } from './content-access.ts'

/** How long an answer about matching names is taken as fresh. */
interface FreshnessRule {
  /** of `registry/repository:tag`; `*` stands for anything */
  readonly pattern: string
  readonly ms: number
}

interface UpstreamTagsOptions {
  readonly upstream: Upstream
  readonly access: ContentAccess
  readonly freshness: readonly FreshnessRule[]
}

/** What upstream says of a tag: what it means, that there is none, or nothing. */
export type TagAnswer =
  | { readonly kind: 'found'; readonly digest: Digest; readonly access: UpstreamAccess }
  | { readonly kind: 'unknown'; readonly reason: string }
  | { readonly kind: 'denied' | 'unreachable'; readonly reason: string; readonly code: ErrorCode }

// HEAD, then GET, of one tag by one client are one question.
const ONE_PULL_MS = 1000
const ASK_MS = 15_000
const MAX_TAGS = 10_000

/** What tags mean upstream: asked each time, or taken from an answer that is fresh by the rules. */
export class UpstreamTags {
  readonly #options: UpstreamTagsOptions
  readonly #rules: readonly { matches: RegExp; ms: number }[]
  readonly #said = new LRUCache<string, { digest: Digest; access: UpstreamAccess; atMs: number }>({
    max: MAX_TAGS,
  })
  readonly #asking = new SingleFlight<TagAnswer>()

  constructor(options: UpstreamTagsOptions) {
    this.#options = options
    this.#rules = options.freshness.map(({ pattern, ms }) => ({ matches: globOf(pattern), ms }))
  }

  async resolve(
    repository: UpstreamRepository,
    tag: string,
    { identity, signal }: { identity: UpstreamIdentity; signal: AbortSignal },
  ): Promise<TagAnswer> {
    const name = `${nameOf(repository)}:${tag}`
    const key = `${identityKey(identity)} ${name}`
    const said = this.#said.get(key)
    if (said && Date.now() - said.atMs < this.#freshMs(name)) {
      if (said.access === 'public' || this.#options.access.hasGrant(repository, identity)) {
        return { kind: 'found', ...said }
      }
    }
    const asked = this.#asking.run(key, () => this.#ask(repository, tag, { identity, key }))
    return abortable(asked, signal)
  }

  /** What upstream said last, to an identity that still has the right to know; for when it cannot be reached. */
  lastSaid(
    repository: UpstreamRepository,
    tag: string,
    identity: UpstreamIdentity,
  ): Digest | undefined {
    const said = this.#said.get(`${identityKey(identity)} ${nameOf(repository)}:${tag}`)
    const mayKnow = said?.access === 'public' || this.#options.access.hasGrant(repository, identity)
    return mayKnow ? said?.digest : undefined
  }

  async #ask(
    repository: UpstreamRepository,
    tag: string,
    { identity, key }: { identity: UpstreamIdentity; key: string },
  ): Promise<TagAnswer> {
    const { upstream, access } = this.#options
    try {
      const options = { identity, signal: deadline(ASK_MS) }
      const found = await upstream.resolve(repository, tag, options)
      if (!found) {
        this.#said.delete(key)
        return { kind: 'unknown', reason: `${repository.registry} has no such image` }
      }
      const { digest } = found
      await access.onGiven({ repository, digest, kind: 'manifest', identity }, found.access)
      this.#said.set(key, { digest, access: found.access, atMs: Date.now() })
      return { kind: 'found', digest, access: found.access }
    } catch (error) {
      const reason = messageOf(error)
      if (isOperationError(error, 'UPSTREAM_DENIED')) {
        this.#said.delete(key)
        return { kind: 'denied', reason, code: error.code }
      }
      const code = isOperationError(error) ? error.code : 'UPSTREAM_UNREACHABLE'
      return { kind: 'unreachable', reason, code }
    }
  }

  #freshMs(name: string): number {
    const rule = this.#rules.find(({ matches }) => matches.test(name))
    return rule?.ms ?? ONE_PULL_MS
  }
}

function globOf(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`)
}
