import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { TLSSocket, createSecureContext } from 'node:tls'

import type { OutsiderOrder } from './outsider-order.ts'
import type { OutsiderTally } from './outsider-tally.ts'

/** Takes connections where a member would be expected, shows whatever certificate it has, and listens. */
export async function openOutsiderDoor(
  { own, target, certificate, key }: OutsiderOrder,
  tally: OutsiderTally,
): Promise<AsyncDisposable> {
  const secureContext = createSecureContext({ cert: certificate, key })
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    tally.dialled += 1
    const secure = new TLSSocket(socket, { isServer: true, secureContext })
    socket.on('error', () => {})
    secure.on('error', () => socket.destroy())
    secure.once('secure', () => (tally.openedChannels += 1))
    secure.on('data', (bytes: Buffer) => tally.tell(bytes))
  })
  server.listen(target.port, own)
  await once(server, 'listening')
  return {
    [Symbol.asyncDispose]: async () => {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}
