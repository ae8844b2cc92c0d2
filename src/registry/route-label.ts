import type { Context, Middleware } from 'koa'

/** The kind of a request, one of few: a label of metrics, and the choice of an error code. */
export function routeOf(ctx: Context): string {
  const state: Record<string, unknown> = ctx.state
  const route = state['route']
  return typeof route === 'string' ? route : 'other'
}

/** Names the kind of the requests that pass here. */
export function route(name: string): Middleware {
  return (ctx, next) => {
    ctx.state['route'] = name
    return next()
  }
}
