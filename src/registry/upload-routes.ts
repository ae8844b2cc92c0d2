import type { IncomingMessage } from 'node:http'

import type { RouterContext } from '@koa/router'

import { clientSignal } from '../http/client-signal.ts'
import type { Door } from './door.ts'
import { RegistryRefusal } from './error-responses.ts'
import { readContentDigest } from './push-digest.ts'
import { guardPush, type PushRequest } from './push-guard.ts'
import type { DoorName } from './registry-backend.ts'
import type { BlobUploadSession, ContentDigest } from './registry-content.ts'
import { readName, shown } from './request-name.ts'

type Handler = (ctx: RouterContext) => Promise<void>

// distribution-spec, Pushing a blob in chunks; some clients write a unit as for other ranges
const CONTENT_RANGE = /^(?:bytes[ =])?(\d{1,16})-(\d{1,16})(?:\/(?:\d+|\*))?$/

/** POST of `/v2/<name>/blobs/uploads/`: mounts a blob, takes a whole one, or begins an upload. */
export function beginUpload(door: Door): Handler {
  return guardPush(door, async (ctx, request) => {
    const { mount, digest } = ctx.query
    if (mount !== undefined && (await mountBlob(ctx, request, readContentDigest(mount)))) return
    const wanted = mount === undefined && digest !== undefined && readContentDigest(digest)
    if (wanted) checkSize(ctx, request, 0)
    const session = await request.content.beginUpload(request)
    if (!wanted) {
      answerProgress(ctx, request, { session, status: 202 })
      return
    }
    await session.finish({ digest: wanted, source: bodyOf(ctx.req), signal: clientSignal(ctx.res) })
    answerCreated(ctx, request, wanted)
  })
}

/** GET of an upload: how far it has come. */
export function serveUpload(door: Door): Handler {
  return guardPush(door, async (ctx, request) => {
    answerProgress(ctx, request, { session: sessionOf(ctx, request), status: 204 })
  })
}

/** PATCH of an upload: more bytes, as a stream or as a chunk that says where it belongs. */
export function appendToUpload(door: Door): Handler {
  return guardPush(door, async (ctx, request) => {
    const session = sessionOf(ctx, request)
    const offset = readOffset(ctx)
    checkSize(ctx, request, session.size)
    const signal = clientSignal(ctx.res)
    const isInOrder = await session.append(bodyOf(ctx.req), {
      signal,
      ...(offset !== undefined && { offset }),
    })
    if (!isInOrder) throw outOfOrder(ctx, request, session)
    answerProgress(ctx, request, { session, status: 202 })
  })
}

/** PUT of an upload: its end, with the last bytes, all of them, or none. */
export function finishUpload(door: Door): Handler {
  return guardPush(door, async (ctx, request) => {
    const session = sessionOf(ctx, request)
    const digest = readContentDigest(ctx.query['digest'])
    const offset = readOffset(ctx)
    checkSize(ctx, request, session.size)
    const isInOrder = await session.finish({
      digest,
      source: bodyOf(ctx.req),
      signal: clientSignal(ctx.res),
      ...(offset !== undefined && { offset }),
    })
    if (!isInOrder) throw outOfOrder(ctx, request, session)
    answerCreated(ctx, request, digest)
  })
}

/** DELETE of an upload. */
export function cancelUpload(door: Door): Handler {
  return guardPush(door, async (ctx, request) => {
    await sessionOf(ctx, request).cancel()
    ctx.status = 204
  })
}

/** Answers 201 with where the blob can be read. */
function answerCreated(ctx: RouterContext, { path }: PushRequest, digest: ContentDigest): void {
  ctx.set('Location', `/v2/${path}/blobs/${digest}`)
  ctx.set('Docker-Content-Digest', digest)
  answerEmpty(ctx, 201)
}

/** Answers with a status alone, and the headers that are set. */
export function answerEmpty(ctx: RouterContext, status: 201 | 202): void {
  ctx.status = status
  ctx.body = ''
  ctx.remove('Content-Type')
}

async function mountBlob(
  ctx: RouterContext,
  request: PushRequest,
  digest: ContentDigest,
): Promise<boolean> {
  const { from } = ctx.query
  const source = from === undefined ? undefined : sourceOf(ctx, request, from)
  if (source === 'invalid') return false
  const { content, name } = request
  const isMounted = await content.mount({ name, digest, ...(source && { from: source }) })
  if (isMounted) answerCreated(ctx, request, digest)
  return isMounted
}

/** A repository that cannot be has no blob to mount: the client is to upload it. */
function sourceOf(
  ctx: RouterContext,
  { door }: PushRequest,
  from: string | string[],
): DoorName | 'invalid' {
  if (typeof from !== 'string') return 'invalid'
  try {
    return readName(ctx, from, door.ownHosts)
  } catch {
    return 'invalid'
  }
}

function sessionOf(ctx: RouterContext, { content, name }: PushRequest): BlobUploadSession {
  const [, id = ''] = ctx.captures ?? []
  const session = content.upload({ name, id })
  if (session) return session
  const reason = 'it was finished, cancelled or left alone for too long'
  throw new RegistryRefusal('BLOB_UPLOAD_UNKNOWN', { upload: shown(id), reason })
}

/** @returns where a chunk begins, by its Content-Range; undefined for a stream */
function readOffset(ctx: RouterContext): number | undefined {
  const { 'content-range': range, 'content-length': length } = ctx.req.headers
  if (range === undefined) return undefined
  const [, start, end] = CONTENT_RANGE.exec(range) ?? []
  const bytes = Number(end) - Number(start) + 1
  if (!(bytes > 0) || (length !== undefined && Number(length) !== bytes)) {
    const reason = `wanted <first byte>-<last byte> of ${length ?? 'the'} bytes, found ${shown(range)}`
    throw new RegistryRefusal('BLOB_UPLOAD_INVALID', { reason })
  }
  return Number(start)
}

/** A body that says that it is too large is not read. */
function checkSize(ctx: RouterContext, { content }: PushRequest, sizeSoFar: number): void {
  const size = sizeSoFar + Number(ctx.req.headers['content-length'] ?? 0)
  if (size <= content.maxBlobBytes) return
  const reason = `wanted a blob of at most ${content.maxBlobBytes} bytes, found ${size}`
  const hint = 'start the node with a larger --max-push'
  throw new RegistryRefusal('SIZE_INVALID', { reason, hint }, 413)
}

function outOfOrder(
  ctx: RouterContext,
  request: PushRequest,
  session: BlobUploadSession,
): RegistryRefusal {
  setProgress(ctx, request, session)
  const reason = `wanted the bytes from ${session.size}`
  return new RegistryRefusal('BLOB_UPLOAD_INVALID', { reason }, 416)
}

function answerProgress(
  ctx: RouterContext,
  request: PushRequest,
  { session, status }: { session: BlobUploadSession; status: 202 | 204 },
): void {
  setProgress(ctx, request, session)
  if (status === 204) ctx.status = status
  else answerEmpty(ctx, status)
}

function setProgress(ctx: RouterContext, { path }: PushRequest, session: BlobUploadSession): void {
  ctx.set('Location', `/v2/${path}/blobs/uploads/${session.id}`)
  ctx.set('Docker-Upload-UUID', session.id)
  // Of an upload without bytes too: clients want to find a range.
  ctx.set('Range', `0-${Math.max(0, session.size - 1)}`)
}

/** The body of a request; that it is left unread does not close the connection before the answer. */
async function* bodyOf(request: IncomingMessage): AsyncGenerator<Uint8Array> {
  const chunks: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false })
  for await (const chunk of chunks) yield chunk
}
