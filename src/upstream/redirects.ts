import type { AddressGuard, Reach } from './address-guard.ts'
import { faulty } from './failures.ts'
import type { HttpAnswer } from './http-answer.ts'
import type { HttpRequest } from './http-client.ts'

const MAX_REDIRECTS = 5
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
/** what is for the host that was asked, and for no other */
const SECRET_HEADERS: ReadonlySet<string> = new Set(['authorization', 'cookie'])

interface FollowOptions {
  readonly guard: AddressGuard
  readonly send: (request: HttpRequest) => Promise<HttpAnswer>
}

/**
 * Sends a GET or HEAD and goes where the answers lead: never from https to http, never from the Internet into a
 * private network, never with a credential to another host or port.
 * @throws OperationError UPSTREAM_FAULTY: a loop, too many, no place, plain http; UPSTREAM_ADDRESS_REFUSED
 */
export async function followRedirects(
  first: HttpRequest,
  { guard, send }: FollowOptions,
): Promise<HttpAnswer> {
  const visited = new Set<string>()
  let request = first
  for (;;) {
    const answer = await send(request)
    const location = answer.header('location')
    const isRedirect = REDIRECTS.has(answer.status) && location !== undefined
    if (!isRedirect || request.method === 'POST') return answer
    await answer.discard()
    visited.add(request.url.href)
    const next = targetOf(location, request.url)
    if (visited.size > MAX_REDIRECTS) throw faulty(first.url, 'it redirects more than 5 times')
    if (visited.has(next.href)) throw faulty(first.url, 'it redirects in a circle')
    request = onward(request, next, guard)
  }
}

function targetOf(location: string, base: URL): URL {
  const target = URL.canParse(location, base.href) ? new URL(location, base) : undefined
  if (target?.protocol !== 'https:' && target?.protocol !== 'http:') {
    throw faulty(base, 'it redirects to what is no http or https URL')
  }
  if (base.protocol === 'https:' && target.protocol === 'http:') {
    throw faulty(base, 'it redirects from https to plain http')
  }
  target.username = ''
  target.password = ''
  target.hash = ''
  return target
}

function onward(request: HttpRequest, url: URL, guard: AddressGuard): HttpRequest {
  const reach: Reach = request.reach === 'public' ? 'public' : guard.reachFrom(request.url)
  if (url.origin === request.url.origin) return { ...request, url, reach }
  const headers = Object.entries(request.headers).filter(([name]) => !SECRET_HEADERS.has(name))
  return { ...request, url, reach, headers: Object.fromEntries(headers) }
}
