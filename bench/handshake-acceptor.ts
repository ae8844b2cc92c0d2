/** The side of handshake-cost.ts that connections come to: a thread, and so an event loop, of its own. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'

import { LoopWatch, openChannel, type HandshakeSetting } from './handshake-cost.ts'

const { swarmKey, isEncrypted } = workerData as HandshakeSetting
const channel = isEncrypted ? openChannel(swarmKey) : undefined
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {})
  channel?.accept(socket, (secure) => secure.on('error', () => {}).resume())
  if (!channel) socket.resume()
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const watch = new LoopWatch()
parentPort?.on('message', (message) => {
  if (message === 'begin') watch.begin()
  else parentPort?.postMessage(watch.spent, [])
  if (message === 'end') server.close()
})
parentPort?.postMessage((server.address() as AddressInfo).port, [])
parentPort?.unref()
