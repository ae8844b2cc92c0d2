import type { RouterContext } from '@koa/router'

import { isOperationError, messageOf, type ErrorCode } from '../errors.ts'
import type { RegistryErrorCode } from '../oci/registry-error.ts'
import type { Log } from '../telemetry/log.ts'
import type { Door } from './door.ts'
import { RegistryRefusal } from './error-responses.ts'
import type { DoorName } from './registry-backend.ts'
import type { RegistryContent } from './registry-content.ts'
import { isMirrored, readName, shown } from './request-name.ts'

/** What a request that changes something works with. */
export interface PushRequest {
  readonly content: RegistryContent
  readonly name: DoorName
  /** the name as the client wrote it, for locations */
  readonly path: string
  readonly door: Door
}

const LOOPBACK = /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$|^::1$/

// What went wrong behind the door, as push clients read it: a 4xx ends the push, a 5xx may be tried again.
const REFUSALS: Partial<Record<ErrorCode, { code: RegistryErrorCode; status?: number }>> = {
  BLOB_DIGEST_MISMATCH: { code: 'DIGEST_INVALID' },
  BLOB_SIZE_MISMATCH: { code: 'SIZE_INVALID', status: 413 },
  BLOB_UNKNOWN: { code: 'MANIFEST_BLOB_UNKNOWN' },
  MANIFEST_INVALID: { code: 'MANIFEST_INVALID' },
  UPLOAD_UNKNOWN: { code: 'BLOB_UPLOAD_UNKNOWN' },
  UPLOADS_EXHAUSTED: { code: 'TOOMANYREQUESTS' },
  DISK_FULL: { code: 'UNKNOWN', status: 507 },
}

/**
 * Runs what answers a request of the push side: only for clients on this host, never for a page in a browser, and
 * only where something may be pushed to. Its failures are answered as such, and not as content that is not there.
 */
export function guardPush(
  door: Door,
  answer: (ctx: RouterContext, request: PushRequest) => Promise<void>,
): (ctx: RouterContext) => Promise<void> {
  return async (ctx) => {
    try {
      await answer(ctx, readPush(ctx, door))
    } catch (error) {
      throw refusalOf(error, door.log)
    } finally {
      closeUnlessRead(ctx)
    }
  }
}

function readPush(ctx: RouterContext, door: Door): PushRequest {
  const { content } = door.backend
  if (!content) throw unsupported('this registry is read only')
  if (!isLoopback(ctx.req.socket.remoteAddress)) {
    throw new RegistryRefusal('DENIED', { reason: 'only clients on this host may push' })
  }
  const { origin, 'sec-fetch-site': site } = ctx.req.headers
  if (origin !== undefined || site !== undefined) {
    throw new RegistryRefusal('DENIED', { reason: 'no page in a browser may push' })
  }
  const [path = ''] = ctx.captures ?? []
  if (isMirrored(ctx, door.ownHosts)) {
    throw unsupported('a mirror takes no pushes: push to the registry, or to this address itself')
  }
  const name = readName(ctx, path, door.ownHosts)
  const reason = content.refusalOf(name)
  if (reason !== undefined) throw unsupported(reason, path)
  return { content, name, path, door }
}

/** Whether an address of a socket is of this host alone. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && LOOPBACK.test(address)
}

function unsupported(reason: string, path?: string): RegistryRefusal {
  return new RegistryRefusal('UNSUPPORTED', {
    ...(path !== undefined && { name: shown(path) }),
    reason,
  })
}

function refusalOf(error: unknown, log: Log): unknown {
  if (error instanceof RegistryRefusal) return error
  if (!isOperationError(error)) {
    log.warn({ err: error }, 'push failed')
    return new RegistryRefusal('UNKNOWN', { reason: messageOf(error) })
  }
  const { code, status } = REFUSALS[error.code] ?? { code: 'UNKNOWN' as const }
  log.warn({ code: error.code, err: error }, 'push refused')
  const detail = { reason: error.message, cause: error.code, hint: error.hint, ...error.details }
  return new RegistryRefusal(code, detail, status)
}

/** What is left of a body that nobody wants would have to be read to its end before the next request. */
function closeUnlessRead(ctx: RouterContext): void {
  const { req } = ctx
  const length = Number(req.headers['content-length'] ?? 0)
  const isBodiless = length === 0 && req.headers['transfer-encoding'] === undefined
  if (!req.readableEnded && !isBodiless && !ctx.headerSent) ctx.set('Connection', 'close')
}
