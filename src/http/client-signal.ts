import type { ServerResponse } from 'node:http'

/** Fires when the client of a response has gone before it had all of it. */
export function clientSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  const { socket } = response.req
  const onGone = () => gone.abort(new DOMException('the client has gone', 'AbortError'))
  if (socket.destroyed) onGone()
  // The response alone does not tell: one that waits behind another on its connection never closes.
  socket.once('close', onGone)
  response.once('close', () => {
    socket.off('close', onGone)
    if (!response.writableFinished) onGone()
  })
  return gone.signal
}
