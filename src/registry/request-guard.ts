import type { Context, Middleware } from 'koa'

import { answerRefusal, RegistryRefusal } from './error-responses.ts'
import type { OwnHosts } from './own-hosts.ts'

/**
 * Keeps the pages of other sites out. A browser on this host reaches the loopback address too, and a name that
 * is made to lead there (DNS rebinding) would let any page read private images: so only known names are
 * answered, and no request that another site has caused. Registry clients send neither Origin nor Sec-Fetch-Site.
 */
export function requestGuard(ownHosts: OwnHosts): Middleware {
  return async (ctx, next) => {
    if (!ownHosts.has(ctx.req.headers.host, ctx.req.socket)) {
      answerRefusal(ctx, misdirected())
    } else if (isFromAnotherSite(ctx)) {
      answerRefusal(ctx, crossSite())
    } else {
      await next()
    }
  }
}

function isFromAnotherSite(ctx: Context): boolean {
  const { origin, host, 'sec-fetch-site': site } = ctx.req.headers
  if (origin !== undefined && origin.toLowerCase() !== `http://${host?.toLowerCase()}`) return true
  // Another port of the same host is the same site, and yet somebody else's page.
  return site !== undefined && site !== 'same-origin' && site !== 'none'
}

function misdirected(): RegistryRefusal {
  const reason = 'the Host header is not a name of this node'
  const hint = 'use 127.0.0.1 or localhost with the port of the node, or configure the name'
  return new RegistryRefusal('UNSUPPORTED', { reason, hint }, 421)
}

function crossSite(): RegistryRefusal {
  const reason = 'the request comes from a page of another site'
  const hint = 'type the address of the node into the browser'
  return new RegistryRefusal('UNSUPPORTED', { reason, hint }, 403)
}
