import errors from 'undici/lib/core/errors.js'

import { isOperationError, OperationError, systemCodeOf } from '../errors.ts'

/**
 * Why a registry is unreachable: `connection` (no connection, no answer in time), `tls`, `busy` (it asked for quiet,
 * details.retryAfterMs), `server` (5xx), `body` (an answer that broke off), `closed` (this node is closing).
 */
export type UnreachableReason = 'connection' | 'tls' | 'busy' | 'server' | 'body' | 'closed'

// Only the host of a URL is ever told: the rest of a signed one is as good as a password.
type Place = Pick<URL, 'host'>

export function unreachable(
  place: Place,
  reason: UnreachableReason,
  found: string,
  details: Readonly<Record<string, unknown>> = {},
): OperationError {
  return new OperationError('UPSTREAM_UNREACHABLE', `registry ${place.host}: ${found}`, {
    details: { host: place.host, reason, ...details },
  })
}

/** An answer that contradicts itself, the question or the standards. */
export function faulty(
  place: Place,
  found: string,
  details: Readonly<Record<string, unknown>> = {},
): OperationError {
  return new OperationError('UPSTREAM_FAULTY', `registry ${place.host}: ${found}`, {
    details: { host: place.host, ...details },
  })
}

export function addressRefused(place: Place, found: string): OperationError {
  return new OperationError('UPSTREAM_ADDRESS_REFUSED', `registry ${place.host}: ${found}`, {
    details: { host: place.host },
  })
}

/** Whether `value` says that a registry is unreachable, for this reason if one is given. */
export function isUnreachable(value: unknown, reason?: UnreachableReason): value is OperationError {
  if (!isOperationError(value, 'UPSTREAM_UNREACHABLE')) return false
  return reason === undefined || value.details['reason'] === reason
}

const TLS_CODES =
  /^(?:ERR_TLS|ERR_SSL|EPROTO$|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_OSSL)/
const TIMEOUT_CODES: ReadonlySet<string> = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'ETIMEDOUT',
])
const HOPELESS_CODES: ReadonlySet<string> = new Set(['ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH'])

/**
 * What a thrown value of the HTTP client means. The value itself is left behind: a parser error holds bytes of the
 * answer, and those may be anybody's secret.
 */
export function failureOf(thrown: unknown, place: Place): OperationError {
  if (thrown instanceof OperationError) return thrown
  const code = systemCodeOf(thrown) ?? 'none'
  const details = { systemCode: code }
  if (TLS_CODES.test(code)) {
    return unreachable(
      place,
      'tls',
      `its TLS certificate or handshake was refused (${code})`,
      details,
    )
  }
  if (isNoHttp(thrown)) return faulty(place, `its answer is not HTTP/1.1 (${code})`, details)
  if (code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED') {
    return unreachable(place, 'closed', 'this node is closing', details)
  }
  if (code === 'UND_ERR_INVALID_ARG') return faulty(place, 'its answer led to no valid request')
  const what = TIMEOUT_CODES.has(code) ? 'no answer in time' : 'no connection'
  return unreachable(place, 'connection', `${what} (${code})`, details)
}

/** A parser error has a code of its own, or none. */
function isNoHttp(thrown: unknown): boolean {
  return thrown instanceof errors.HTTPParserError || thrown instanceof errors.HeadersOverflowError
}

/** Whether the same request may well get an answer a moment later. A time-out has cost enough already. */
export function isWorthAnotherTry(failure: OperationError): boolean {
  const code = String(failure.details['systemCode'])
  return (
    isUnreachable(failure, 'connection') && !TIMEOUT_CODES.has(code) && !HOPELESS_CODES.has(code)
  )
}
