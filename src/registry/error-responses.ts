import type { Context, Middleware, Next } from 'koa'

import { isOperationError, messageOf } from '../errors.ts'
import {
  REGISTRY_ERRORS,
  registryErrorBody,
  type RegistryErrorCode,
} from '../oci/registry-error.ts'
import type { Log } from '../telemetry/log.ts'
import { routeOf } from './route-label.ts'

type Detail = Readonly<Record<string, unknown>>

/** A request that the door refuses, with a code of the spec. `detail` says why. */
export class RegistryRefusal extends Error {
  override readonly name = 'RegistryRefusal'
  readonly code: RegistryErrorCode
  readonly status: number
  readonly detail: Detail

  constructor(code: RegistryErrorCode, detail: Detail, status?: number) {
    super(REGISTRY_ERRORS[code].message)
    this.code = code
    this.status = status ?? REGISTRY_ERRORS[code].status
    this.detail = detail
  }
}

/** Answers with an error as registry clients read it (distribution-spec, Error Codes). */
export function answerRefusal(ctx: Context, { code, status, detail }: RegistryRefusal): void {
  ctx.status = status
  ctx.set('Content-Type', 'application/json')
  ctx.body = registryErrorBody(code, detail)
}

/**
 * The one place where a failure becomes an answer. Whatever went wrong behind the door is a 404: a mirror
 * client then asks its next host, while 401, 403, 408, 429 and 5xx make one or another of them give up, wait, or
 * try here again.
 */
export function answerFailures(log: Log): Middleware {
  return async (ctx: Context, next: Next) => {
    try {
      await next()
    } catch (error) {
      if (ctx.headerSent || ctx.req.socket.destroyed) ctx.respond = false
      else answerRefusal(ctx, refusalOf(error, { code: unknownCodeOf(ctx), log }))
    }
  }
}

function refusalOf(
  error: unknown,
  { code, log }: { code: RegistryErrorCode; log: Log },
): RegistryRefusal {
  if (error instanceof RegistryRefusal) return error
  if (isOperationError(error)) {
    log.warn({ code: error.code, err: error }, 'request not served')
    return new RegistryRefusal(code, {
      reason: error.message,
      cause: error.code,
      hint: error.hint,
    })
  }
  if (error instanceof DOMException && error.name === 'TimeoutError') {
    return new RegistryRefusal(code, { reason: 'nobody answered for it in time' })
  }
  log.error({ err: error }, 'request failed')
  return new RegistryRefusal(code, { reason: messageOf(error) })
}

/** What is unknown when a request of this kind cannot be served. */
function unknownCodeOf(ctx: Context): RegistryErrorCode {
  const route = routeOf(ctx)
  if (route === 'blob') return 'BLOB_UNKNOWN'
  return route === 'manifest' || route === 'referrers' ? 'MANIFEST_UNKNOWN' : 'NAME_UNKNOWN'
}
