import type { RouterContext } from '@koa/router'
import type { Context, Next } from 'koa'

import { clientSignal } from '../http/client-signal.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { isTag } from '../oci/reference.ts'
import { abortable, deadline } from '../support/deadline.ts'
import type { Door } from './door.ts'
import { answerRefusal, RegistryRefusal } from './error-responses.ts'
import { readContentDigest } from './push-digest.ts'
import { guardPush } from './push-guard.ts'
import type { ContentDigest } from './registry-content.ts'
import { decodeReference, shown } from './request-name.ts'
import { answerEmpty } from './upload-routes.ts'

type Handler = (ctx: RouterContext) => Promise<void>

// distribution-spec, Endpoints: end-4 to end-6, end-11 and end-13
const UPLOADS = /^\/v2\/.+\/blobs\/uploads\/[^/]*$/
const MANIFEST_BODY_MS = 120_000

/** PUT of `/v2/<name>/manifests/<tag or digest>`; more tags by `?tag=`. */
export function putManifest(door: Door): Handler {
  return guardPush(door, async (ctx, { content, name, path }) => {
    const reference = readPushReference(ctx)
    const bytes = await readManifest(ctx)
    const mediaType = ctx.req.headers['content-type']
    const { digest, subject } = await content.putManifest(
      { name, bytes, ...reference, ...(mediaType !== undefined && { mediaType }) },
      { signal: clientSignal(ctx.res) },
    )
    const stated = reference.digest ?? digest
    ctx.set('Location', `/v2/${path}/manifests/${stated}`)
    ctx.set('Docker-Content-Digest', stated)
    if (subject !== undefined) ctx.set('OCI-Subject', subject)
    const further = reference.digest ? reference.tags : []
    if (further.length > 0) ctx.set('OCI-Tag', [...further])
    answerEmpty(ctx, 201)
  })
}

/** DELETE of `/v2/<name>/manifests/<tag or digest>`. */
export function deleteManifest(door: Door): Handler {
  return guardPush(door, async (ctx, { content, name }) => {
    const { digest, tags } = readPushReference(ctx)
    const [tag] = tags
    const isGone = await content.deleteManifest({ name, ...(digest ? { digest } : tag && { tag }) })
    if (!isGone) throw new RegistryRefusal('MANIFEST_UNKNOWN', { digest: digest ?? tag })
    answerEmpty(ctx, 202)
  })
}

/** DELETE of `/v2/<name>/blobs/<digest>`. */
export function deleteBlob(door: Door): Handler {
  return guardPush(door, async (ctx, { content, name }) => {
    const [, text = ''] = ctx.captures ?? []
    const digest = readContentDigest(text)
    if (!(await content.deleteBlob({ name, digest }))) {
      throw new RegistryRefusal('BLOB_UNKNOWN', { digest })
    }
    answerEmpty(ctx, 202)
  })
}

/** Every other verb that would change something. */
export async function refusePush(ctx: Context, next: Next): Promise<void> {
  const isRead = ctx.method === 'GET' || ctx.method === 'HEAD'
  if (isRead && !UPLOADS.test(ctx.path)) return next()
  ctx.set('Allow', 'GET, HEAD')
  answerRefusal(ctx, new RegistryRefusal('UNSUPPORTED', { reason: `no ${ctx.method} here` }))
}

function readPushReference(ctx: RouterContext): {
  tags: readonly string[]
  digest?: ContentDigest
} {
  const [, text = ''] = ctx.captures ?? []
  const reference = decodeReference(text)
  const digest = reference.includes(':') ? readContentDigest(reference) : undefined
  const further = ctx.query['tag'] ?? []
  const tags = digest ? [further].flat() : [reference]
  const wrong = tags.find((tag) => !isTag(tag))
  if (wrong !== undefined) {
    const reason = 'wanted a tag or a digest'
    throw new RegistryRefusal('MANIFEST_INVALID', { tag: shown(wrong), reason })
  }
  return { tags, ...(digest && { digest }) }
}

/** The whole body, which is bounded, in bounded time. */
async function readManifest(ctx: RouterContext): Promise<Buffer> {
  checkLength(Number(ctx.req.headers['content-length'] ?? 0))
  return abortable(collect(ctx), deadline(MANIFEST_BODY_MS, clientSignal(ctx.res)))
}

async function collect(ctx: RouterContext): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  const body: AsyncIterable<Buffer> = ctx.req.iterator({ destroyOnReturn: false })
  for await (const chunk of body) {
    bytes += chunk.length
    checkLength(bytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function checkLength(bytes: number): void {
  if (bytes <= MAX_MANIFEST_BYTES) return
  const reason = `wanted a manifest of at most ${MAX_MANIFEST_BYTES} bytes, found ${bytes}`
  throw new RegistryRefusal('SIZE_INVALID', { reason }, 413)
}
