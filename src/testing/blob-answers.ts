import type { ServerResponse } from 'node:http'

import type { UpstreamFixture } from './upstream-fixture.ts'
import type { SeenRequest } from './upstream-server.ts'

/** Answers the GETs of blobs; HEADs are answered as usual. */
export function answerBlobs(
  t: UpstreamFixture,
  answer: (response: ServerResponse, start: number, request: SeenRequest) => void,
): void {
  t.server.hook = (request, response) => {
    if (request.method !== 'GET' || !request.url.includes('/blobs/')) return false
    answer(response, Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0), request)
    return true
  }
}

/** Of the GETs, in order. */
export function ranges(t: UpstreamFixture): (string | undefined)[] {
  return t.server.requests
    .filter(({ method }) => method === 'GET')
    .map(({ headers }) => headers.range)
}

/** Sends the rest of the layer, but ends the connection after `bytes`. */
export function sendAndBreak(
  t: UpstreamFixture,
  response: ServerResponse,
  start: number,
  bytes: number,
): void {
  const { length } = t.layer
  if (start > 0) response.setHeader('content-range', `bytes ${start}-${length - 1}/${length}`)
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': length - start })
  response.write(t.layer.subarray(start, start + bytes), () => response.destroy())
}
