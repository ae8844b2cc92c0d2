import { abortable } from '../support/deadline.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { parseChallenge, type Challenge } from './challenge.ts'
import {
  basicAuthorization,
  directAuthorization,
  fingerprintOf,
  type Credential,
} from './credential.ts'
import { ExpiringMap } from './expiring-map.ts'
import type { HttpAnswer } from './http-answer.ts'
import type { RegistryTarget } from './registry-target.ts'
import type { Token, TokenQuestion } from './token-service.ts'

/** Who asks: everybody, or the owner of a credential. */
export interface Lane {
  /** tells lanes apart; no secret */
  readonly name: string
  readonly credential: Credential | undefined
}

/** An Authorization header. */
export interface Authorization {
  readonly header: string
  /** made for this very request */
  readonly isFresh: boolean
}

export const ANONYMOUS: Lane = { name: 'anonymous', credential: undefined }

export function laneOf(credential: Credential): Lane {
  return { name: fingerprintOf(credential), credential }
}

interface AuthorizationsOptions {
  readonly nowMs: () => number
  readonly requestToken: (
    question: Omit<TokenQuestion, 'reach'>,
    registry: URL,
  ) => Promise<Token | undefined>
  /** whether the credential of the registry may go to the realm */
  readonly isTrusted: (realm: URL, registry: URL) => boolean
  /** ends the token requests, which belong to no single caller */
  readonly closing: AbortSignal
}

type KnownChallenge = Challenge | { readonly scheme: 'none' }

const MAX_TOKENS = 1024
const CHALLENGE_LIFETIME_MS = 10 * 60_000
const TOKEN_MARGIN_MS = 10_000
// A repository that became private must not count as public because of an old token.
const MAX_ANONYMOUS_TOKEN_MS = 5 * 60_000
const MAX_TOKEN_MS = 60 * 60_000

/** The Authorization headers for registries, in memory: made from challenges, kept while they are good. */
export class Authorizations {
  readonly #options: AuthorizationsOptions
  readonly #headers: ExpiringMap<string>
  readonly #challenges: ExpiringMap<KnownChallenge>
  readonly #flights = new SingleFlight<string | undefined>()

  constructor(options: AuthorizationsOptions) {
    this.#options = options
    const { nowMs } = options
    this.#headers = new ExpiringMap({ maxEntries: MAX_TOKENS, nowMs })
    this.#challenges = new ExpiringMap({ maxEntries: MAX_TOKENS, nowMs })
  }

  /** The header for a request, as far as what the registry asked for before tells. */
  async ready(
    target: RegistryTarget,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<Authorization | undefined> {
    const kept = this.#headers.get(keyOf(target, lane))
    if (kept !== undefined) return { header: kept, isFresh: false }
    const challenge = this.#challenges.get(target.origin.origin)
    // a registry that was asked how it wants to be asked, and did not tell, may have the credential itself
    if (!challenge) return asShown(lane.credential && directAuthorization(lane.credential), false)
    return asShown(await this.#meet(challenge, target, lane, signal), true)
  }

  /** Whether it is known how the registry wants to be asked. */
  isKnown({ origin }: RegistryTarget): boolean {
    return this.#challenges.get(origin.origin) !== undefined
  }

  /** Remembers how the registry wants to be asked: from a 401 with its challenge, or from an answer without one. */
  learn({ origin }: RegistryTarget, answer: HttpAnswer): KnownChallenge | undefined {
    if (answer.url.origin !== origin.origin) return undefined
    const challenge = challengeOf(answer)
    if (challenge) this.#challenges.set(origin.origin, challenge, CHALLENGE_LIFETIME_MS)
    return challenge
  }

  /**
   * Another header than `refused`, which got the 401.
   * @returns undefined if there is none
   */
  async renew(
    target: RegistryTarget,
    lane: Lane,
    {
      answer,
      refused,
      signal,
    }: { answer: HttpAnswer; refused: Authorization | undefined; signal: AbortSignal },
  ): Promise<Authorization | undefined> {
    const challenge = this.learn(target, answer)
    // what is refused when it is new will be refused when it is newer
    if (refused?.isFresh === true) return undefined
    const kept = this.#headers.get(keyOf(target, lane))
    // another request has renewed it meanwhile
    if (kept !== undefined && kept !== refused?.header) return { header: kept, isFresh: true }
    this.#headers.delete(keyOf(target, lane))
    const header = challenge && (await this.#meet(challenge, target, lane, signal))
    return header === refused?.header ? undefined : asShown(header, true)
  }

  /** Why a credential could not be shown, if that is so. */
  obstacleOf({ origin }: RegistryTarget, { credential }: Lane): string | undefined {
    const challenge = this.#challenges.get(origin.origin)
    if (challenge?.scheme !== 'bearer' || !credential) return undefined
    if (credential.kind === 'registry-token') return undefined
    if (this.#options.isTrusted(challenge.realm, origin)) return undefined
    return `its token service ${challenge.realm.host} is not one that the credential may go to`
  }

  async #meet(
    challenge: KnownChallenge,
    target: RegistryTarget,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { credential } = lane
    if (credential?.kind === 'registry-token') return directAuthorization(credential)
    if (challenge.scheme === 'bearer') return await this.#fetch(challenge, target, lane, signal)
    if (challenge.scheme === 'basic') {
      return credential?.kind === 'basic' ? basicAuthorization(credential) : undefined
    }
    return credential && directAuthorization(credential)
  }

  /** One token request at a time for a repository and a lane; it does not end with one of those who wait for it. */
  async #fetch(
    challenge: Extract<Challenge, { scheme: 'bearer' }>,
    target: RegistryTarget,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    signal.throwIfAborted()
    const { credential } = lane
    if (credential && !this.#options.isTrusted(challenge.realm, target.origin)) return undefined
    const flight = this.#flights.run(keyOf(target, lane), async () => {
      const token = await this.#options.requestToken(
        {
          realm: challenge.realm,
          service: challenge.service,
          scopes: scopesOf(target, challenge.scope),
          credential: credential?.kind === 'registry-token' ? undefined : credential,
          signal: this.#options.closing,
        },
        target.origin,
      )
      return token && this.#keep(target, lane, token)
    })
    return await abortable(flight, signal)
  }

  #keep(target: RegistryTarget, lane: Lane, { token, lifetimeMs }: Token): string {
    const header = `Bearer ${token}`
    const maxMs = lane.credential ? MAX_TOKEN_MS : MAX_ANONYMOUS_TOKEN_MS
    // a short token keeps half of its life
    const keepMs = Math.min(Math.max(lifetimeMs - TOKEN_MARGIN_MS, lifetimeMs / 2), maxMs)
    this.#headers.set(keyOf(target, lane), header, keepMs)
    return header
  }
}

function asShown(header: string | undefined, isFresh: boolean): Authorization | undefined {
  return header === undefined ? undefined : { header, isFresh }
}

/** Other answers, such as 429, tell nothing. */
function challengeOf(answer: HttpAnswer): KnownChallenge | undefined {
  if (answer.status === 401) return parseChallenge(answer.header('www-authenticate'))
  return answer.isSuccess || answer.status === 404 ? { scheme: 'none' } : undefined
}

function keyOf({ origin, repository }: RegistryTarget, { name }: Lane): string {
  return `${origin.origin} ${repository} ${name}`
}

/** Ours alone, and what is no scope of a repository: a registry does not get to ask for another repository. */
function scopesOf({ repository }: RegistryTarget, asked: string | undefined): string[] {
  const others = (asked ?? '').split(' ').filter((scope) => /^[a-z0-9._-]{1,64}$/i.test(scope))
  return [`repository:${repository}:pull`, ...others.slice(0, 4)]
}
