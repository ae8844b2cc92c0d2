import type { RequestListener } from 'node:http'

import { Router } from '@koa/router'
import Koa, { type Context, type Middleware, type Next } from 'koa'

import { recordAccess } from '../http/access-log.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { serveBlob } from './blob-routes.ts'
import { DEFAULT_DOOR_LIMITS, type Door, type DoorLimits } from './door.ts'
import { answerFailures, answerRefusal, RegistryRefusal } from './error-responses.ts'
import { serveManifest, serveReferrers, serveTags } from './manifest-routes.ts'
import { OwnHosts } from './own-hosts.ts'
import { deleteBlob, deleteManifest, putManifest, refusePush } from './push-routes.ts'
import type { RegistryBackend } from './registry-backend.ts'
import { requestGuard } from './request-guard.ts'
import { shown } from './request-name.ts'
import { route, routeOf } from './route-label.ts'
import {
  appendToUpload,
  beginUpload,
  cancelUpload,
  finishUpload,
  serveUpload,
} from './upload-routes.ts'

interface RegistryAppOptions {
  readonly backend: RegistryBackend
  /** names, besides the loopback ones, under which the node is reached: `name` or `name:port` */
  readonly hosts?: readonly string[]
  readonly log?: Log
  readonly metrics?: Pick<Metrics, 'observeRequest'>
  readonly limits?: Partial<DoorLimits>
  /** what else answers on this address, such as the status page; behind the same guard */
  readonly pages?: readonly Middleware[]
}

/**
 * The OCI Distribution API for the engine on this host (distribution-spec).
 * Names may hold slashes and the words manifests and blobs: the last of these in a path counts.
 */
export function createRegistryApp({
  backend,
  hosts = [],
  log = silentLog,
  metrics,
  limits,
  pages = [],
}: RegistryAppOptions): RequestListener {
  const ownHosts = new OwnHosts(hosts)
  const door: Door = { backend, ownHosts, log, limits: { ...DEFAULT_DOOR_LIMITS, ...limits } }
  const app = new Koa()
  // Here arrive broken connections; what fails in a handler was answered before.
  app.on('error', (error: unknown) => log.debug({ err: error }, 'response broken off'))
  app.use(watchResponse({ log, ...(metrics && { metrics }) }))
  app.use(answerFailures(log))
  app.use(requestGuard(ownHosts))
  for (const page of pages) app.use(page)
  app.use(announceVersion)
  app.use(pullRoutes(door).routes())
  if (backend.content) app.use(pushRoutes(door).routes())
  app.use(refusePush)
  app.use(refuseUnknownPath)
  const answer = app.callback()
  return (request, response) => {
    answer(request, response).catch((error: unknown) => log.error({ err: error }, 'request failed'))
  }
}

function pullRoutes(door: Door): Router {
  const router = new Router()
  router.get(/^\/v2\/?$/, route('ping'), (ctx) => {
    ctx.set('Content-Type', 'application/json')
    ctx.body = '{}'
  })
  router.get(/^\/v2\/(.+)\/manifests\/([^/]+)$/, route('manifest'), serveManifest(door))
  router.get(/^\/v2\/(.+)\/blobs\/([^/]+)$/, route('blob'), serveBlob(door))
  router.get(/^\/v2\/(.+)\/tags\/list$/, route('tags'), serveTags(door))
  router.get(/^\/v2\/(.+)\/referrers\/([^/]+)$/, route('referrers'), serveReferrers(door))
  return router
}

function pushRoutes(door: Door): Router {
  const router = new Router()
  const uploads = /^\/v2\/(.+)\/blobs\/uploads\/?$/
  const upload = /^\/v2\/(.+)\/blobs\/uploads\/([^/]+)$/
  router.post(uploads, route('upload'), beginUpload(door))
  router.get(upload, route('upload'), serveUpload(door))
  router.patch(upload, route('upload'), appendToUpload(door))
  router.put(upload, route('upload'), finishUpload(door))
  router.delete(upload, route('upload'), cancelUpload(door))
  const manifest = /^\/v2\/(.+)\/manifests\/([^/]+)$/
  router.put(manifest, route('manifest'), putManifest(door))
  router.delete(manifest, route('manifest'), deleteManifest(door))
  router.delete(/^\/v2\/(.+)\/blobs\/([^/]+)$/, route('blob'), deleteBlob(door))
  return router
}

function watchResponse({ log, metrics }: Pick<RegistryAppOptions, 'metrics'> & { log: Log }) {
  return (ctx: Context, next: Next): Promise<void> => {
    // A response that would end with fewer bytes than promised, on a connection that goes on, must never be.
    ctx.res.strictContentLength = true
    ctx.set('X-Content-Type-Options', 'nosniff')
    recordAccess(ctx.res, { log, ...(metrics && { metrics }), route: () => routeOf(ctx) })
    return next()
  }
}

function announceVersion(ctx: Context, next: Next): Promise<void> {
  if (isRegistryPath(ctx.path)) ctx.set('Docker-Distribution-API-Version', 'registry/2.0')
  return next()
}

function refuseUnknownPath(ctx: Context): void {
  const detail = { path: shown(ctx.path), reason: 'nothing is served there' }
  answerRefusal(ctx, new RegistryRefusal('NAME_UNKNOWN', detail))
}

function isRegistryPath(path: string): boolean {
  return path === '/v2' || path.startsWith('/v2/')
}
