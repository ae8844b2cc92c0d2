import type { RouterContext, RouterMiddleware } from '@koa/router'

import { MEDIA_TYPES } from '../oci/media-types.ts'
import { clientSignal } from '../http/client-signal.ts'
import { layOutMultipart, type MultipartLayout } from '../http/multipart.ts'
import {
  formatContentRange,
  lengthOf,
  MAX_RANGES,
  selectRanges,
  type ByteRange,
} from '../http/range.ts'
import { sendStream, type StreamedResponse } from '../http/send-stream.ts'
import { askBackend } from './ask-backend.ts'
import { clientOf } from './client-of.ts'
import type { Door } from './door.ts'
import { RegistryRefusal } from './error-responses.ts'
import { resolveDigest } from './push-digest.ts'
import type { BlobContent } from './registry-backend.ts'
import { readRepository, shown } from './request-name.ts'

/** HEAD and GET of `/v2/<name>/blobs/<digest>`, whole or by ranges. */
export function serveBlob(door: Door): RouterMiddleware {
  return async (ctx) => {
    const [path = '', text = ''] = ctx.captures ?? []
    const repository = readRepository(ctx, path, door.ownHosts)
    const { asked, digest } = await resolveDigest(door, text, 'BLOB_UNKNOWN')
    const gone = clientSignal(ctx.res)
    const client = clientOf(ctx)
    const startedMs = performance.now()
    const ask = (signal: AbortSignal) =>
      door.backend.blob({ ...repository, digest }, { signal, client })
    const blob = await askBackend(ask, { limitMs: door.limits.blobMs, gone })
    if (!blob) throw new RegistryRefusal('BLOB_UNKNOWN', { name: shown(path), digest })
    if (ctx.method === 'HEAD') answerHead(ctx, blob, asked)
    else await send(ctx, door, { blob, digest: asked, gone, startedMs })
  }
}

function answerHead(ctx: RouterContext, blob: BlobContent, digest: string): void {
  ctx.status = 200
  ctx.set(headersOf(digest))
  ctx.length = blob.size
}

interface Sending {
  readonly blob: BlobContent
  readonly digest: string
  readonly gone: AbortSignal
  /** of the request, on the clock of `performance` */
  readonly startedMs: number
}

async function send(ctx: RouterContext, { limits, log }: Door, sending: Sending): Promise<void> {
  const { blob, digest, gone, startedMs } = sending
  const answer = answerFor(ctx, blob, digest)
  const firstByteMs = Math.max(0, limits.firstByteMs - (performance.now() - startedMs))
  try {
    await sendStream(ctx.res, answer, { signal: gone, firstByteMs, stallMs: limits.stallMs })
  } catch (error) {
    if (!ctx.headerSent) throw error
    if (!gone.aborted) log.warn({ digest, err: error }, 'blob cut short')
  } finally {
    // What is on the wire is no more Koa's to end.
    if (ctx.headerSent) ctx.respond = false
  }
}

/** @throws RegistryRefusal for ranges that cannot be served */
function answerFor(ctx: RouterContext, blob: BlobContent, digest: string): StreamedResponse {
  const headers = headersOf(digest)
  const { size } = blob
  const selection = selectRanges(rangeHeaderOf(ctx, digest), size)
  if (selection.kind === 'unsatisfiable') {
    ctx.set('Content-Range', `bytes */${size}`)
    throw new RegistryRefusal('SIZE_INVALID', { digest, size }, 416)
  }
  if (selection.kind === 'too-many') {
    const reason = `wanted at most ${MAX_RANGES} ranges, found ${selection.count}`
    throw new RegistryRefusal('UNSUPPORTED', { digest, reason }, 400)
  }
  if (selection.kind === 'parts') {
    return partsAnswer(blob, layOutMultipart(selection.ranges, size), headers)
  }
  return selection.kind === 'part'
    ? partAnswer(blob, selection.range, headers)
    : wholeAnswer(blob, headers)
}

function wholeAnswer(blob: BlobContent, headers: Record<string, string>): StreamedResponse {
  return {
    status: 200,
    headers: { ...headers, 'Content-Length': blob.size },
    body: (options) => readExactly(blob, { start: 0, end: blob.size - 1 }, options),
  }
}

function partAnswer(
  blob: BlobContent,
  range: ByteRange,
  headers: Record<string, string>,
): StreamedResponse {
  return {
    status: 206,
    headers: {
      ...headers,
      'Content-Length': lengthOf(range),
      'Content-Range': formatContentRange(range, blob.size),
    },
    body: (options) => readExactly(blob, range, options),
  }
}

function partsAnswer(
  blob: BlobContent,
  layout: MultipartLayout,
  headers: Record<string, string>,
): StreamedResponse {
  return {
    status: 206,
    headers: {
      ...headers,
      'Content-Type': layout.contentType,
      'Content-Length': layout.contentLength,
    },
    body: (options) => readParts(blob, layout, options),
  }
}

async function* readParts(
  blob: BlobContent,
  { parts, tail }: MultipartLayout,
  options: { signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  for (const { head, range } of parts) {
    let isFirst = true
    for await (const chunk of readExactly(blob, range, options)) {
      // Not before the bytes are there: until something is sent, a failure can be answered by 404.
      if (isFirst) yield head
      isFirst = false
      yield chunk
    }
  }
  yield tail
}

/** Exactly the bytes of `range`. The last of them only when the backend has said that all went well. */
async function* readExactly(
  blob: BlobContent,
  range: ByteRange,
  options: { signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  const wanted = lengthOf(range)
  if (wanted === 0) return
  let found = 0
  let held: Uint8Array | undefined
  for await (const chunk of blob.read(range, { ...options, isLent: true })) {
    if (chunk.length === 0) continue
    found += chunk.length
    if (found > wanted) break
    if (found < wanted) yield chunk
    else held = chunk
  }
  if (found !== wanted || !held) {
    throw new TypeError(`blob backend: wanted ${wanted} bytes, found ${found}`)
  }
  yield held
}

/** Without its own If-Range validator a Range is void (RFC 9110, If-Range). */
function rangeHeaderOf(ctx: RouterContext, digest: string): string | undefined {
  const { range, 'if-range': condition } = ctx.req.headers
  return condition === undefined || condition === etagOf(digest) ? range : undefined
}

function headersOf(digest: string): Record<string, string> {
  return {
    'Content-Type': MEDIA_TYPES.octetStream,
    'Docker-Content-Digest': digest,
    'Accept-Ranges': 'bytes',
    ETag: etagOf(digest),
  }
}

function etagOf(digest: string): string {
  return `"${digest}"`
}
