import type { RouterContext, RouterMiddleware } from '@koa/router'

import type { Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { clientSignal } from '../http/client-signal.ts'
import { askBackend } from './ask-backend.ts'
import { clientOf } from './client-of.ts'
import type { Door } from './door.ts'
import { RegistryRefusal } from './error-responses.ts'
import { readReferredDigest, resolveDigest } from './push-digest.ts'
import type { ManifestContent } from './registry-backend.ts'
import { decodeReference, readRepository, readTag, shown } from './request-name.ts'

/** HEAD and GET of `/v2/<name>/manifests/<tag or digest>`: the exact bytes under their exact type. */
export function serveManifest(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = '', text = ''] = ctx.captures ?? []
    const repository = readRepository(ctx, path, door.ownHosts)
    const { asked, ...reference } = await readReference(door, text)
    const manifest = await waitFor(ctx, door, (signal) =>
      door.backend.manifest({ ...repository, ...reference }, { signal, client: clientOf(ctx) }),
    )
    if (!manifest) {
      throw new RegistryRefusal('MANIFEST_UNKNOWN', { name: shown(path), ...reference })
    }
    answerManifest(ctx, manifest, asked)
  }
}

/** GET of `/v2/<name>/tags/list`, by pages where `n` says so, in byte order (distribution-spec, Listing Tags). */
export function serveTags(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = ''] = ctx.captures ?? []
    const repository = readRepository(ctx, path, door.ownHosts)
    const { limit, after } = readPage(ctx)
    const known = await waitFor(ctx, door, (signal) =>
      door.backend.tags(repository, { signal, client: clientOf(ctx) }),
    )
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
 * GET of `/v2/<name>/referrers/<digest>`: an image index of what refers to a manifest, an empty one where nothing
 * does (distribution-spec, Listing Referrers). 404 where only an upstream can say, since an empty list from a
 * mirror would end the client's search and hide signatures.
 */
export function serveReferrers(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = '', text = ''] = ctx.captures ?? []
    const repository = readRepository(ctx, path, door.ownHosts)
    const digest = readReferredDigest(door, text)
    const entries = await waitFor(ctx, door, async (signal) =>
      door.backend.referrers?.({ ...repository, digest }, { signal, client: clientOf(ctx) }),
    )
    if (!entries) {
      throw new RegistryRefusal('MANIFEST_UNKNOWN', { digest, reason: 'upstream knows, ask there' })
    }
    const { artifactType } = ctx.query
    const isFiltered = typeof artifactType === 'string'
    if (isFiltered) ctx.set('OCI-Filters-Applied', 'artifactType')
    answerJson(ctx, MEDIA_TYPES.ociIndex, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: isFiltered
        ? entries.filter((entry) => entry['artifactType'] === artifactType)
        : entries,
    })
  }
}

/** The tag or the digest of a path, and how the client wrote a digest. */
async function readReference(
  door: Door,
  text: string,
): Promise<{ tag?: string; digest?: Digest; asked?: string }> {
  if (!decodeReference(text).includes(':')) return { tag: readTag(text) }
  return resolveDigest(door, text, 'MANIFEST_UNKNOWN')
}

/** The answer of the backend in time, for as long as the client is there. */
function waitFor<Answer>(
  ctx: RouterContext,
  { limits }: Door,
  ask: (signal: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  return askBackend(ask, { limitMs: limits.manifestMs, gone: clientSignal(ctx.res) })
}

function answerManifest(
  ctx: RouterContext,
  { bytes, digest: known, mediaType, notice }: ManifestContent,
  digest: string = known,
): void {
  ctx.status = 200
  // Not ctx.type: it would add a charset to types that Koa knows.
  ctx.set('Content-Type', mediaType)
  ctx.set('Docker-Content-Digest', digest)
  ctx.set('ETag', `"${digest}"`)
  if (notice !== undefined) ctx.set('Warning', formatWarning(notice))
  ctx.body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** distribution-spec, Warnings: `299 - "text"`, printable ASCII, at most 4096 bytes. */
function formatWarning(notice: string): string {
  const text = notice.replaceAll(/[^ -~]/g, '?').replaceAll(/["\\]/g, "'")
  return `299 - "${text.slice(0, 1000)}"`
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
