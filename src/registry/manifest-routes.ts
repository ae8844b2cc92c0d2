import type { RouterContext, RouterMiddleware } from '@koa/router'

import { asRecord } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { clientSignal } from '../http/client-signal.ts'
import { askBackend } from './ask-backend.ts'
import type { Door } from './door.ts'
import { RegistryRefusal } from './error-responses.ts'
import type { DoorName, ManifestContent } from './registry-backend.ts'
import { readDigest, readName, readReference, shown } from './request-name.ts'

/** HEAD and GET of `/v2/<name>/manifests/<tag or digest>`: the exact bytes under their exact type. */
export function serveManifest(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = '', text = ''] = ctx.captures ?? []
    const name = readName(ctx, path, door.ownHosts)
    const reference = readReference(text)
    const manifest = await waitFor(ctx, door, (signal) =>
      door.backend.manifest({ name, ...reference }, { signal }),
    )
    if (!manifest) {
      throw new RegistryRefusal('MANIFEST_UNKNOWN', { name: shown(path), ...reference })
    }
    answerManifest(ctx, manifest)
  }
}

/** GET of `/v2/<name>/tags/list`, by pages where `n` says so, in byte order (distribution-spec, Listing Tags). */
export function serveTags(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = ''] = ctx.captures ?? []
    const name = readName(ctx, path, door.ownHosts)
    const { limit, after } = readPage(ctx)
    const known = await waitFor(ctx, door, (signal) => door.backend.tags({ name }, { signal }))
    if (!known) throw new RegistryRefusal('NAME_UNKNOWN', { name: shown(path) })
    const rest = [...known].sort().filter((tag) => after === undefined || tag > after)
    const tags = rest.slice(0, limit)
    const last = tags.at(-1)
    if (last !== undefined && tags.length < rest.length) {
      ctx.set('Link', `<${nextPage(ctx, last)}>; rel="next"`)
    }
    answerJson(ctx, 'application/json', { name: path, tags })
  }
}

/**
 * GET of `/v2/<name>/referrers/<digest>`. For what the swarm alone holds, the image index under the tag
 * `sha256-<hex>` (distribution-spec, Referrers Tag Schema), else an empty one. For what an upstream holds 404,
 * since an empty list from a mirror would end the client's search and hide signatures.
 */
export function serveReferrers(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = '', text = ''] = ctx.captures ?? []
    const name = readName(ctx, path, door.ownHosts)
    const digest = readDigest(text, 'MANIFEST_UNKNOWN')
    if (name.scope === 'upstream') {
      throw new RegistryRefusal('MANIFEST_UNKNOWN', { digest, reason: 'upstream knows, ask there' })
    }
    const manifests = await referrersOf(ctx, door, { name, digest })
    const { artifactType } = ctx.query
    if (typeof artifactType === 'string') ctx.set('OCI-Filters-Applied', 'artifactType')
    answerJson(ctx, MEDIA_TYPES.ociIndex, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests:
        typeof artifactType === 'string'
          ? manifests.filter((entry) => asRecord(entry)?.['artifactType'] === artifactType)
          : manifests,
    })
  }
}

async function referrersOf(
  ctx: RouterContext,
  door: Door,
  { name, digest }: { name: DoorName; digest: Digest },
): Promise<readonly unknown[]> {
  const tag = digest.replace(':', '-')
  const index = await waitFor(ctx, door, (signal) =>
    door.backend.manifest({ name, tag }, { signal }),
  )
  if (index?.mediaType !== MEDIA_TYPES.ociIndex) return []
  const { manifests } = asRecord(JSON.parse(Buffer.from(index.bytes).toString())) ?? {}
  return Array.isArray(manifests) ? manifests : []
}

/** The answer of the backend in time, for as long as the client is there. */
function waitFor<Answer>(
  ctx: RouterContext,
  { limits }: Door,
  ask: (signal: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  return askBackend(ask, { limitMs: limits.manifestMs, gone: clientSignal(ctx.res) })
}

function answerManifest(ctx: RouterContext, { bytes, digest, mediaType }: ManifestContent): void {
  ctx.status = 200
  // Not ctx.type: it would add a charset to types that Koa knows.
  ctx.set('Content-Type', mediaType)
  ctx.set('Docker-Content-Digest', digest)
  ctx.set('ETag', `"${digest}"`)
  ctx.body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function answerJson(ctx: RouterContext, contentType: string, document: object): void {
  ctx.status = 200
  ctx.set('Content-Type', contentType)
  ctx.body = JSON.stringify(document)
}

function readPage(ctx: RouterContext): { limit: number; after?: string } {
  const { n, last } = ctx.query
  if (n !== undefined && (typeof n !== 'string' || !/^\d{1,9}$/.test(n))) {
    throw new RegistryRefusal('UNSUPPORTED', { reason: 'wanted a whole number for n' }, 400)
  }
  return {
    limit: n === undefined ? Number.POSITIVE_INFINITY : Number(n),
    ...(typeof last === 'string' && { after: last }),
  }
}

function nextPage(ctx: RouterContext, last: string): string {
  const query = new URLSearchParams({ n: String(ctx.query['n']), last })
  if (typeof ctx.query['ns'] === 'string') query.set('ns', ctx.query['ns'])
  return `${ctx.path}?${query.toString()}`
}
