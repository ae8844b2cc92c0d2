import { OperationError } from '../errors.ts'
import type { AddressGuard } from './address-guard.ts'
import { ANONYMOUS, laneOf, type Authorizations, type Lane } from './authorizations.ts'
import { fingerprintOf, parseAuthorization, type Credential } from './credential.ts'
import { ExpiringMap } from './expiring-map.ts'
import { faulty, isUnreachable, unreachable } from './failures.ts'
import { BUSY, Gate } from './gate.ts'
import type { HttpAnswer } from './http-answer.ts'
import type { HttpRequest } from './http-client.ts'
import { followRedirects } from './redirects.ts'
import type { RegistryTarget } from './registry-target.ts'
import { parseRetryAfter } from './retry-after.ts'
import type { SteadyClient } from './steady-client.ts'
import type { AskOptions, UpstreamAccess, UpstreamIdentity } from './upstream.ts'

/** One question to a registry; the path is below its root. */
export interface RegistryQuestion {
  readonly method: 'GET' | 'HEAD'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly kind: 'metadata' | 'blob'
}

/** An answer of which the status is 2xx, 405 or 416, and by whose right it came. */
export interface RegistryAnswer {
  readonly answer: HttpAnswer
  readonly access: UpstreamAccess
}

interface RegistryRequestsOptions {
  readonly client: SteadyClient
  readonly guard: AddressGuard
  readonly authorizations: Authorizations
  readonly findCredential: (
    registry: string,
    repository: string,
    signal: AbortSignal,
  ) => Promise<Credential | undefined>
  readonly nowMs: () => number
}

const MAX_CHALLENGES = 2
const PRIVATE_MEMORY_MS = 10 * 60_000
// A repository that became private stops counting as public.
const PUBLIC_MEMORY_MS = 5 * 60_000
const MAX_REPOSITORIES = 4096
const MAX_GATES = 1024
const DEFAULT_QUIET_MS = 5000
const TIMER_MARGIN_MS = 5
/** what a credential may change */
const CLOSED_STATUSES: ReadonlySet<number> = new Set([401, 403, 404, 429])
const ABSENT_STATUSES: ReadonlySet<number> = new Set([404, 410])
const DENIED_STATUSES: ReadonlySet<number> = new Set([401, 403, 451])
const PASSED_ON_STATUSES: ReadonlySet<number> = new Set([405, 416])

/**
 * Asks registries by the rule of identities: as everybody first, then with the credential, so that what everybody
 * may read is known to be public.
 */
export class RegistryRequests {
  readonly #options: RegistryRequestsOptions
  /** repositories whose registry wanted the credential of this identity */
  readonly #privates: ExpiringMap<true>
  /** repositories that everybody could read: what they do not have, a credential does not find */
  readonly #publics: ExpiringMap<true>
  /** a registry that has enough of everybody may still answer to a name */
  readonly #gates: ExpiringMap<Gate>

  constructor(options: RegistryRequestsOptions) {
    this.#options = options
    const { nowMs } = options
    this.#privates = new ExpiringMap({ maxEntries: MAX_REPOSITORIES, nowMs })
    this.#publics = new ExpiringMap({ maxEntries: MAX_REPOSITORIES, nowMs })
    this.#gates = new ExpiringMap({ maxEntries: MAX_GATES, nowMs })
  }

  /**
   * @returns undefined for 404
   * @throws OperationError as {@link Upstream} has it; the reason of the signal
   */
  async ask(
    target: RegistryTarget,
    question: RegistryQuestion,
    { identity, signal }: AskOptions,
  ): Promise<RegistryAnswer | undefined> {
    signal.throwIfAborted()
    const key = `${target.registry}/${target.repository} ${nameOf(identity)}`
    if (this.#privates.get(key)) {
      const lane = await this.#laneFor(target, identity, signal)
      const answer = lane && (await this.#shown(target, question, lane, signal))
      if (answer && !DENIED_STATUSES.has(answer.status))
        return await conclude(answer, 'private', target)
      await answer?.discard()
      this.#privates.delete(key)
    }
    return await this.#askAnew(target, question, { identity, signal, key })
  }

  async #askAnew(
    target: RegistryTarget,
    question: RegistryQuestion,
    { identity, signal, key }: AskOptions & { key: string },
  ): Promise<RegistryAnswer | undefined> {
    const repository = `${target.registry}/${target.repository}`
    const open = await this.#inLane(target, question, ANONYMOUS, signal)
    if (isAnswer(open) && open.isSuccess) this.#publics.set(repository, true, PUBLIC_MEMORY_MS)
    if (isAnswer(open) && !this.#mayBePrivate(repository, open)) {
      return await conclude(open, 'public', target)
    }
    const lane = await this.#laneFor(target, identity, signal)
    if (!lane)
      return await conclude(await this.#insist(open, target, question, signal), 'public', target)
    if (isAnswer(open)) await open.discard()
    const shown = await this.#shown(target, question, lane, signal)
    const obstacle = this.#options.authorizations.obstacleOf(target, lane)
    if (shown.isSuccess && !isUnreachable(open, 'busy')) {
      this.#privates.set(key, true, PRIVATE_MEMORY_MS)
    }
    return await conclude(shown, 'private', target, obstacle)
  }

  #mayBePrivate(repository: string, { status }: HttpAnswer): boolean {
    if (ABSENT_STATUSES.has(status) && this.#publics.get(repository)) return false
    return CLOSED_STATUSES.has(status)
  }

  async #laneFor(
    { registry, repository }: RegistryTarget,
    identity: UpstreamIdentity,
    signal: AbortSignal,
  ): Promise<Lane | undefined> {
    if (identity.kind === 'anonymous') return undefined
    const credential =
      identity.kind === 'client'
        ? parseAuthorization(identity.authorization)
        : await this.#options.findCredential(registry, repository, signal)
    return credential && laneOf(credential)
  }

  /** With a credential: in the way that the registry wants it, waiting once if it asks for a short quiet. */
  async #shown(
    target: RegistryTarget,
    question: RegistryQuestion,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    if (!this.#options.authorizations.isKnown(target)) await this.#ping(target, signal)
    const first = await this.#inLane(target, question, lane, signal)
    return await this.#insist(first, target, question, signal, lane)
  }

  async #insist(
    first: HttpAnswer | OperationError,
    target: RegistryTarget,
    question: RegistryQuestion,
    signal: AbortSignal,
    lane: Lane = ANONYMOUS,
  ): Promise<HttpAnswer> {
    if (isAnswer(first)) return first
    const { client } = this.#options
    const waitMs = Number(first.details['retryAfterMs'])
    if (!(waitMs <= client.maxRetryAfterMs)) throw first
    // a timer may be a little early, and the gate would still be closed
    await client.rest(waitMs + TIMER_MARGIN_MS, signal)
    const second = await this.#inLane(target, question, lane, signal)
    if (isAnswer(second)) return second
    throw second
  }

  /** The answer; or, where the registry has enough of this lane, the failure that says so. */
  async #inLane(
    target: RegistryTarget,
    question: RegistryQuestion,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<HttpAnswer | OperationError> {
    try {
      return await this.#gateOf(target, lane).pass(signal, async () => {
        const answer = await this.#authorized(target, question, lane, signal)
        if (answer.status !== 429) return answer
        await answer.discard()
        throw busy(answer)
      })
    } catch (thrown) {
      if (isUnreachable(thrown, 'busy')) return thrown
      throw thrown
    }
  }

  #gateOf({ origin }: RegistryTarget, { name }: Lane): Gate {
    const key = `${origin.origin} ${name}`
    const { nowMs } = this.#options
    const gate = this.#gates.get(key) ?? new Gate({ nowMs, closesOn: BUSY })
    this.#gates.set(key, gate, Infinity)
    return gate
  }

  /** Meets at most two challenges. */
  async #authorized(
    target: RegistryTarget,
    question: RegistryQuestion,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const { authorizations } = this.#options
    let authorization = await authorizations.ready(target, lane, signal)
    for (let challenges = 1; ; challenges += 1) {
      const answer = await this.#send(target, question, authorization?.header, signal)
      if (answer.status !== 401 || challenges > MAX_CHALLENGES) return answer
      const refused = authorization
      authorization = await authorizations.renew(target, lane, { answer, refused, signal })
      if (authorization === undefined) return answer
      await answer.discard()
    }
  }

  async #ping(target: RegistryTarget, signal: AbortSignal): Promise<void> {
    const question = { method: 'GET', path: '/v2/', kind: 'metadata' } as const
    const answer = await this.#send(target, question, undefined, signal)
    this.#options.authorizations.learn(target, answer)
    await answer.discard()
  }

  async #send(
    { origin }: RegistryTarget,
    { method, path, headers, kind }: RegistryQuestion,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const { client, guard } = this.#options
    const request: HttpRequest = {
      url: new URL(path, origin),
      method,
      headers: { ...headers, ...(authorization !== undefined && { authorization }) },
      kind,
      reach: 'any',
      signal,
    }
    return await followRedirects(request, { guard, send: (next) => client.send(next) })
  }
}

function isAnswer(found: HttpAnswer | OperationError): found is HttpAnswer {
  return !(found instanceof OperationError)
}

async function conclude(
  answer: HttpAnswer,
  access: UpstreamAccess,
  { origin, repository }: RegistryTarget,
  obstacle?: string,
): Promise<RegistryAnswer | undefined> {
  const { status } = answer
  if (answer.isSuccess || PASSED_ON_STATUSES.has(status)) return { answer, access }
  await answer.discard()
  if (ABSENT_STATUSES.has(status)) return undefined
  if (DENIED_STATUSES.has(status)) {
    throw new OperationError(
      'UPSTREAM_DENIED',
      `registry ${origin.host}: it answered ${status} for ${repository}${obstacle === undefined ? '' : `; ${obstacle}`}`,
      { details: { host: origin.host, repository, status } },
    )
  }
  throw faulty(origin, `it answered ${status}`, { repository, status })
}

function busy(answer: HttpAnswer): OperationError {
  const retryAfterMs = parseRetryAfter(answer.header('retry-after'), Date.now()) ?? DEFAULT_QUIET_MS
  return unreachable(answer.url, 'busy', 'it answered 429', { status: 429, retryAfterMs })
}

/** Tells identities apart without keeping a secret as a key. */
function nameOf(identity: UpstreamIdentity): string {
  if (identity.kind !== 'client') return identity.kind
  return fingerprintOf({ kind: 'registry-token', token: identity.authorization })
}
