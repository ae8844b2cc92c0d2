import type { Context } from 'koa'

import type { DoorClient } from './registry-backend.ts'

/** Who sent a request. */
export function clientOf(ctx: Context): DoorClient {
  return { socket: ctx.req.socket, authorization: ctx.req.headers.authorization }
}
