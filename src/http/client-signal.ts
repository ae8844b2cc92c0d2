import type { ServerResponse } from 'node:http'

/** Fires when the client of a response has gone before it had all of it. */
export function clientSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  const onGone = () => gone.abort(new DOMException('the client has gone', 'AbortError'))
  if (response.req.socket.destroyed) onGone()
  response.once('close', () => {
    if (!response.writableFinished) onGone()
  })
  return gone.signal
}
