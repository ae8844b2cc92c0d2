import type { Context, Middleware } from 'koa'

import {
  DOCKER_IO_PROBE,
  isProbeTag,
  PROBE_REGISTRY,
  PROBE_REPOSITORY,
} from '../mirror/probe-name.ts'
import { digestOf } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'

/** A question of `mirror status` that came through an engine. */
export interface SeenProbe {
  /** the name in the path */
  readonly name: string
  /** the registry that the client named beside it */
  readonly ns: string | null
  readonly method: string
  readonly userAgent: string
  readonly atMs: number
}

const MANIFEST_PATH = /^\/v2\/(.+)\/manifests\/([^/]+)$/
const SEEN_PATH = /^\/api\/v1\/probes\/([^/]+)$/
const MAX_TAGS = 128
const MAX_SEEN = 16
const MAX_TEXT = 200

/**
 * An image index without images: a client that gets it knows where it is, asks no other host, and has nothing to
 * fetch, unpack or keep.
 */
const ANSWER = JSON.stringify({
  schemaVersion: 2,
  mediaType: MEDIA_TYPES.ociIndex,
  manifests: [],
})
const ANSWER_DIGEST = digestOf(ANSWER)

/**
 * Answers the probes of `mirror status` itself, without asking anybody, and tells at `/api/v1/probes/<tag>` which
 * have come. The tags are random: who does not know one learns nothing.
 */
export function doorProbes(): Middleware {
  const seenByTag = new Map<string, SeenProbe[]>()
  return async (ctx, next) => {
    const probe = probeOf(ctx)
    const asked = SEEN_PATH.exec(ctx.path)?.[1]
    if (probe) {
      ctx.state['route'] = 'probe'
      if (isProbeTag(probe.reference)) note(seenByTag, probe.reference, seenFrom(ctx, probe.name))
      answerIndex(ctx)
    } else if (asked !== undefined && isProbeTag(asked) && ctx.method === 'GET') {
      ctx.state['route'] = 'status'
      ctx.set('Content-Type', 'application/json')
      ctx.set('Cache-Control', 'no-store')
      ctx.body = JSON.stringify({ probes: seenByTag.get(asked) ?? [] })
    } else {
      await next()
    }
  }
}

function probeOf(ctx: Context): { name: string; reference: string } | undefined {
  if (ctx.method !== 'GET' && ctx.method !== 'HEAD') return undefined
  const [, name = '', reference = ''] = MANIFEST_PATH.exec(ctx.path) ?? []
  const isTheirs =
    name === `${PROBE_REGISTRY}/${PROBE_REPOSITORY}` ||
    (name === PROBE_REPOSITORY && ctx.query['ns'] === PROBE_REGISTRY) ||
    name === DOCKER_IO_PROBE
  const isKnown = isProbeTag(reference) || reference.replace(/%3a/i, ':') === ANSWER_DIGEST
  return isTheirs && isKnown ? { name, reference } : undefined
}

function seenFrom(ctx: Context, name: string): SeenProbe {
  const { ns } = ctx.query
  return {
    name,
    ns: typeof ns === 'string' ? ns : null,
    method: ctx.method,
    userAgent: ctx.get('user-agent').slice(0, MAX_TEXT),
    atMs: Date.now(),
  }
}

/** The newest tags, and the first questions for each. */
function note(seenByTag: Map<string, SeenProbe[]>, tag: string, probe: SeenProbe): void {
  const seen = seenByTag.get(tag) ?? []
  if (seen.length < MAX_SEEN) seen.push(probe)
  seenByTag.delete(tag)
  seenByTag.set(tag, seen)
  const [oldest] = seenByTag.keys()
  if (seenByTag.size > MAX_TAGS && oldest !== undefined) seenByTag.delete(oldest)
}

function answerIndex(ctx: Context): void {
  ctx.status = 200
  ctx.set('Docker-Distribution-API-Version', 'registry/2.0')
  ctx.set('Docker-Content-Digest', ANSWER_DIGEST)
  // HEAD too has the length and the type of what GET would give
  ctx.body = ANSWER
  ctx.set('Content-Type', MEDIA_TYPES.ociIndex)
}
