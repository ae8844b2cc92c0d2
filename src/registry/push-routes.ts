import type { Context, Next } from 'koa'

import { answerRefusal, RegistryRefusal } from './error-responses.ts'

// distribution-spec, Endpoints: end-4 to end-6, end-11 and end-13
const UPLOADS = /^\/v2\/.+\/blobs\/uploads\/[^/]*$/
const ALLOWED = 'GET, HEAD'

/**
 * The place of the push side: uploads of blobs, PUT and DELETE of manifests, DELETE of blobs. None of it is
 * served yet, so every verb that changes something is refused.
 */
export async function refusePush(ctx: Context, next: Next): Promise<void> {
  const isRead = ctx.method === 'GET' || ctx.method === 'HEAD'
  if (isRead && !UPLOADS.test(ctx.path)) return next()
  ctx.set('Allow', ALLOWED)
  answerRefusal(ctx, new RegistryRefusal('UNSUPPORTED', { reason: 'this registry is read only' }))
}
