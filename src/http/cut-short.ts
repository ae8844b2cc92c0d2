import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const LINGER_MS = 5000

/**
 * Ends a response before its promised length, so that no client can take it for complete. It goes by FIN:
 * containerd resumes after an unexpected end, and gives the pull up after a reset.
 */
export function cutShort(response: ServerResponse): void {
  if (response.socket) endConnection(response.socket)
  // Behind another response on its connection: that one is not to be cut.
  else response.once('socket', (socket: Socket) => setImmediate(() => endConnection(socket)))
}

/**
 * The kernel makes a reset of a close while bytes are unread, so the connection is only ended on our side and
 * read on until the client closes.
 */
function endConnection(socket: Socket): void {
  if (socket.destroyed) return
  socket.end()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
}
