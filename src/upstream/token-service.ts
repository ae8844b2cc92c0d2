import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { deadline } from '../support/deadline.ts'
import type { AddressGuard, Reach } from './address-guard.ts'
import { basicAuthorization, type Credential } from './credential.ts'
import { faulty, unreachable } from './failures.ts'
import type { HttpAnswer } from './http-answer.ts'
import type { HttpRequest } from './http-client.ts'
import { followRedirects } from './redirects.ts'
import { parseRetryAfter } from './retry-after.ts'
import type { SteadyClient } from './steady-client.ts'

export interface TokenQuestion {
  readonly realm: URL
  readonly service: string | undefined
  readonly scopes: readonly string[]
  /** none: what everybody may have */
  readonly credential: Exclude<Credential, { kind: 'registry-token' }> | undefined
  readonly reach: Reach
  readonly signal: AbortSignal
}

export interface Token {
  readonly token: string
  /** from when it was asked for */
  readonly lifetimeMs: number
}

interface TokenServiceOptions {
  readonly client: SteadyClient
  readonly guard: AddressGuard
}

const MAX_ANSWER_BYTES = 256 * 1024
const ANSWER_MS = 20_000
// distribution, spec/auth/token: "For compatibility with older clients, a token should never be returned with less
// than 60 seconds to live", and that is the default
const DEFAULT_LIFETIME_S = 60
const CLIENT_ID = 'ddocker'
const DEFAULT_BUSY_MS = 5000

/**
 * Asks a token service: GET (spec/auth/token), or POST with a refresh token (spec/auth/oauth).
 * @returns undefined if it refuses
 * @throws OperationError UPSTREAM_UNREACHABLE, UPSTREAM_FAULTY, UPSTREAM_ADDRESS_REFUSED
 */
export async function requestToken(
  question: TokenQuestion,
  { client, guard }: TokenServiceOptions,
): Promise<Token | undefined> {
  const signal = deadline(ANSWER_MS, question.signal)
  try {
    const request =
      question.credential?.kind === 'identity-token' ? postOf(question) : getOf(question)
    const answer = await followRedirects(
      { ...request, signal },
      { guard, send: (next) => client.send(next) },
    )
    return await readToken(answer)
  } catch (thrown) {
    question.signal.throwIfAborted()
    if (thrown instanceof OperationError || !signal.aborted) throw thrown
    throw unreachable(question.realm, 'connection', `no token in ${ANSWER_MS} ms`)
  }
}

function getOf({ realm, service, scopes, credential, reach, signal }: TokenQuestion): HttpRequest {
  const url = new URL(realm)
  if (service !== undefined) url.searchParams.set('service', service)
  for (const scope of scopes) url.searchParams.append('scope', scope)
  if (credential?.kind === 'basic') url.searchParams.set('account', credential.username)
  const headers: Record<string, string> = { accept: 'application/json' }
  if (credential?.kind === 'basic') headers['authorization'] = basicAuthorization(credential)
  return { url, method: 'GET', headers, kind: 'metadata', reach, signal }
}

function postOf({ realm, service, scopes, credential, reach, signal }: TokenQuestion): HttpRequest {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: CLIENT_ID,
    scope: scopes.join(' '),
    ...(service !== undefined && { service }),
    ...(credential?.kind === 'identity-token' && { refresh_token: credential.token }),
  })
  return {
    url: realm,
    method: 'POST',
    headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
    body: form.toString(),
    kind: 'metadata',
    reach,
    signal,
  }
}

async function readToken(answer: HttpAnswer): Promise<Token | undefined> {
  if (!answer.isSuccess) {
    await answer.discard()
    if (answer.status === 429) throw busy(answer)
    return undefined
  }
  const fields = asRecord(parseJson(await answer.bytes(MAX_ANSWER_BYTES)))
  const token = fields?.['token'] || fields?.['access_token']
  // printable ASCII: it becomes a header
  if (typeof token !== 'string' || !/^[\x21-\x7e]{1,65536}$/.test(token)) {
    throw faulty(answer.url, 'its token service answers without a usable token')
  }
  return { token, lifetimeMs: lifetimeOf(fields?.['expires_in']) }
}

function busy(answer: HttpAnswer): OperationError {
  const retryAfterMs = parseRetryAfter(answer.header('retry-after'), Date.now()) ?? DEFAULT_BUSY_MS
  return unreachable(answer.url, 'busy', 'it answered 429', { status: 429, retryAfterMs })
}

function lifetimeOf(expiresIn: unknown): number {
  const isNumber = typeof expiresIn === 'number' && Number.isFinite(expiresIn) && expiresIn > 0
  return (isNumber ? expiresIn : DEFAULT_LIFETIME_S) * 1000
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    // told by the caller, without the text
    return undefined
  }
}
