import { Router } from '@koa/router'
import type { Context, Middleware, Next } from 'koa'

import { messageOf } from '../errors.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { Levels, Metrics } from '../telemetry/metrics.ts'
import { EventStreams } from './event-streams.ts'
import type { NodeStatus, StatusSource } from './node-status.ts'
import type { StatusView } from './page-parts.ts'
import { renderStatusPage, STATUS_PAGE_POLICY } from './status-page.ts'

interface StatusRoutesOptions {
  readonly source: StatusSource
  readonly metrics: Metrics
  readonly log?: Log
  /** fires when the node stops: ends the event streams */
  readonly signal?: AbortSignal
  readonly heartbeatMs?: number
  readonly maxEventClients?: number
}

const HEARTBEAT_MS = 15_000
const MAX_EVENT_CLIENTS = 32
const ALLOWED = 'GET, HEAD'

/** `/`, `/healthz`, `/readyz`, `/metrics` and `/api/v1/…`; passes on what is none of these. All of it only reads. */
export function createStatusRoutes({
  source,
  metrics,
  log = silentLog,
  signal,
  heartbeatMs = HEARTBEAT_MS,
  maxEventClients = MAX_EVENT_CLIENTS,
}: StatusRoutesOptions): Middleware {
  const events = new EventStreams(source, { heartbeatMs, maxClients: maxEventClients, signal })
  const router = new Router()
  // Pages ask every two seconds, and those that ask at once get one view.
  const views = new SingleFlight<StatusView>()
  const serve = (path: string, label: string, answer: (ctx: Context) => Promise<void> | void) => {
    router.all(path, readOnly(label), (ctx) => answerOrFail(ctx, answer, { source, log }))
  }
  serve('/', 'page', async (ctx) => answerPage(ctx, await views.run('page', () => gather(source))))
  serve('/healthz', 'health', (ctx) => answerText(ctx, 200, 'ok'))
  serve('/readyz', 'health', (ctx) =>
    source.isReady() ? answerText(ctx, 200, 'ready') : answerText(ctx, 503, 'starting'),
  )
  serve('/metrics', 'metrics', async (ctx) => {
    // What was counted is told even when the levels cannot be.
    const status = await source.status().catch((error: unknown) => logFailure(log, error))
    if (status) metrics.setLevels(levelsOf(status))
    ctx.set('Content-Type', metrics.contentType)
    ctx.body = await metrics.text()
  })
  serve('/api/v1/status', 'status', async (ctx) => answerJson(ctx, await source.status()))
  serve('/api/v1/images', 'status', async (ctx) =>
    answerJson(ctx, { images: await source.images() }),
  )
  serve('/api/v1/peers', 'status', async (ctx) => answerJson(ctx, { peers: await source.peers() }))
  serve('/api/v1/transfers', 'status', async (ctx) =>
    answerJson(ctx, { transfers: await source.transfers() }),
  )
  serve('/api/v1/events', 'events', (ctx) => answerEvents(ctx, events))
  const routes = router.routes()
  return async (ctx, next) => {
    await routes(ctx as Parameters<typeof routes>[0], next)
  }
}

/** Names the kind of request for the metrics, and refuses what would change something. */
function readOnly(label: string) {
  return async (ctx: Context, next: Next): Promise<void> => {
    ctx.state['route'] = label
    if (ctx.method === 'GET' || ctx.method === 'HEAD') return next()
    ctx.set('Allow', ALLOWED)
    answerText(ctx, 405, 'this only reads; see ddocker --help for what changes something')
  }
}

async function answerOrFail(
  ctx: Context,
  answer: (ctx: Context) => Promise<void> | void,
  { source, log }: { source: StatusSource; log: Log },
): Promise<void> {
  ctx.set('Cache-Control', 'no-store')
  try {
    await answer(ctx)
  } catch (error) {
    logFailure(log, error)
    answerJson(ctx, { error: { message: messageOf(error) } })
    ctx.status = source.isReady() ? 500 : 503
  }
}

function logFailure(log: Log, error: unknown): undefined {
  log.error({ err: error }, 'status not told')
}

async function gather(source: StatusSource): Promise<StatusView> {
  const [status, images, peers, transfers] = await Promise.all([
    source.status(),
    source.images(),
    source.peers(),
    source.transfers(),
  ])
  return { status, images, peers, transfers, isReady: source.isReady(), nowMs: Date.now() }
}

function answerPage(ctx: Context, view: StatusView): void {
  ctx.set('Content-Type', 'text/html; charset=utf-8')
  ctx.set('Content-Security-Policy', STATUS_PAGE_POLICY)
  ctx.set('Referrer-Policy', 'no-referrer')
  ctx.body = renderStatusPage(view)
}

function answerEvents(ctx: Context, events: EventStreams): void {
  if (!events.hasRoom) {
    ctx.set('Retry-After', '10')
    answerText(ctx, 503, 'too many listeners')
    return
  }
  if (ctx.method === 'HEAD') {
    ctx.status = 200
    ctx.set('Content-Type', 'text/event-stream')
    return
  }
  ctx.respond = false
  events.open(ctx.res)
}

function answerJson(ctx: Context, document: object): void {
  ctx.set('Content-Type', 'application/json')
  ctx.body = JSON.stringify(document)
}

function answerText(ctx: Context, status: number, text: string): void {
  ctx.status = status
  ctx.set('Content-Type', 'text/plain; charset=utf-8')
  ctx.body = `${text}\n`
}

function levelsOf(status: NodeStatus): Levels {
  return {
    peers: status.peers,
    bannedPeers: status.bannedPeers.length,
    transfersUnderWay: status.moving,
    blobs: status.blobs.count,
    blobBytes: status.blobs.bytes,
    images: status.images,
    dhtNodes: status.dhtNodes,
  }
}
