import type { Socket } from 'node:net'

interface StreamHandle {
  useUserBuffer?(buffer: Uint8Array): void
}

/**
 * From now on bytes of a socket are read into one buffer again and again, instead of each time into a new one: what
 * `onread` of net.connect does, but for any socket, at any time, and for accepted and encrypted ones too, which have no
 * such option. A new buffer for each TLS record counts against the collector: measured, collecting them took a leecher
 * longer than both hashes (bench/encryption-cost.ts).
 *
 * Nothing must wait in the socket to be read, and its stream must flow, for its end still comes that way.
 * @param buffer not empty: Node would read nothing for ever; sockets may share it
 * @param onBytes given a part of `buffer`, which is the reader's own until it returns
 * @returns false where this Node names its members differently: the socket goes on as before
 */
export function readDirectly(
  socket: Socket,
  buffer: Buffer,
  onBytes: (bytes: Buffer) => void,
): boolean {
  const { _handle: handle } = socket as Socket & { _handle?: StreamHandle }
  const [kBuffer, kBufferCb] = [memberOf(socket, 'kBuffer'), memberOf(socket, 'kBufferCb')]
  if (typeof handle?.useUserBuffer !== 'function' || !kBuffer || !kBufferCb) return false
  Object.assign(socket, {
    [kBuffer]: buffer,
    [kBufferCb]: (length: number) => onBytes(buffer.subarray(0, length)),
  })
  handle.useUserBuffer(buffer)
  return true
}

function memberOf(socket: Socket, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === description)
}
