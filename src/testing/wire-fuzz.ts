import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const PROTOCOL = Buffer.from('\u0013BitTorrent protocol')
// BEP 6 and BEP 10 on, so that every message kind is read
const RESERVED = Buffer.from('0000000000100004', 'hex')

/** A BEP 3 handshake. */
export function handshake(infoHash: string): Buffer {
  return Buffer.concat([
    PROTOCOL,
    RESERVED,
    Buffer.from(infoHash, 'hex'),
    Buffer.from('-XX0001-abcdefghijkl'),
  ])
}

/** A message with its true length. */
export function message(id: number, ...parts: (number | Uint8Array)[]): Buffer {
  const body = Buffer.concat([
    Buffer.from([id]),
    ...parts.map((part) => (typeof part === 'number' ? uint32(part) : Buffer.from(part))),
  ])
  return Buffer.concat([uint32(body.length), body])
}

const extended = (extension: number, payload: string) =>
  message(20, Buffer.from([extension]), Buffer.from(payload, 'latin1'))

/** Messages that have ended processes that run these libraries, and their kin. */
export const KNOWN_CRASHERS: readonly Buffer[] = [
  extended(0, 'l-3:e'),
  extended(0, 'd1:ml-3:ee'),
  extended(1, 'd1:al-3:ee'),
  extended(1, 'd1:a5:\xff\xff\xff\xff\xff8:msg_typei0eex'),
  extended(3, 'l-3:e'),
  extended(1, ''),
  extended(1, 'd8:msg_typei1e5:piecei99999e10:total_sizei100eexx'),
  extended(1, 'd8:msg_typei1e5:piecei0eexx'),
  extended(1, 'd8:msg_typei0e5:piecei-1ee'),
  extended(1, 'd8:msg_typei0e5:piece4:xxxxe'),
  extended(2, ''),
  extended(3, ''),
  extended(3, 'd1:ai5ee'),
  extended(3, 'd1:al5:a:1:2i7eee'),
  extended(0, ''),
  extended(0, 'i5e'),
  extended(0, 'd1:mi5ee'),
  extended(0, 'd1:md11:ut_metadatali1eee13:metadata_sizei-1ee'),
  extended(0, 'd1:md8:dd_peers1:xe1:p3:abc4:reqqi-5ee'),
  extended(0, 'd1:md11:ut_metadatai1ee13:metadata_sizei9900000ee'),
  extended(0, 'l'.repeat(20_000)),
  message(4),
  message(4, 0xffffffff),
  message(5),
  message(5, Buffer.alloc(60_000, 255)),
  message(6, 0, 0, 0),
  message(6, 0, 0xfffffff0, 16_384),
  message(6, 0, 0, 0x80000000),
  message(6, 0xffffffff, 0, 16_384),
  message(6, 0),
  message(7),
  message(7, 0, 0, Buffer.alloc(16_384)),
  message(8, 1),
  message(9),
  message(13, 1),
  message(14),
  message(15),
  message(16, 1),
  message(17, 5),
  message(20),
  message(255, Buffer.alloc(10)),
  uint32(0xffffffff),
  uint32(256 * 1024 * 1024),
  Buffer.concat(Array.from({ length: 3000 }, () => message(6, 0, 0, 131_072))),
  Buffer.concat(
    Array.from({ length: 50 }, () =>
      extended(0, 'd1:md11:ut_metadatai1ee13:metadata_sizei9900000ee'),
    ),
  ),
]

/** A stranger on one connection: says what it says until it is cut off. */
export async function speak(
  port: number,
  { infoHash, messages }: { infoHash: string; messages: readonly Uint8Array[] },
): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  socket.resume()
  await Promise.race([once(socket, 'connect'), closed])
  socket.write(handshake(infoHash))
  for (const bytes of messages) {
    if (socket.destroyed) break
    if (!socket.write(bytes)) await Promise.race([once(socket, 'drain'), closed])
  }
  await finish(socket, closed)
}

/** Whether a stranger that asks for an infohash gets a handshake back, and not the end of the connection. */
export async function answersHandshake(port: number, infoHash: string): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  socket.on('error', () => {})
  socket.write(handshake(infoHash))
  const { promise, resolve } = Promise.withResolvers<boolean>()
  socket.once('data', () => resolve(true))
  socket.once('close', () => resolve(false))
  const answers = await promise
  socket.destroy()
  return answers
}

async function finish(socket: Socket, closed: Promise<unknown>): Promise<void> {
  socket.end()
  const patience = setTimeout(() => socket.destroy(), 200)
  await closed
  clearTimeout(patience)
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}
