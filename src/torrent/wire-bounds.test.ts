import assert from 'node:assert/strict'
import { test } from 'node:test'

import { MemorySocket } from '../testing/fuzz/memory-socket.ts'
import { bareWire, openStranger } from '../testing/fuzz/wire-strangers.ts'
import { handshake, message } from '../testing/wire-fuzz.ts'

const MIB = 1024 * 1024
const askForMetadata = message(20, Buffer.from([1]), Buffer.from('d8:msg_typei0e5:piecei0ee'))

test('a peer that asks and does not read is cut off before much waits for it', async () => {
  await using stranger = await openStranger({ isDeaf: true })
  const { socket } = stranger
  socket.deliver(message(20, Buffer.from([0]), Buffer.from('d1:md11:ut_metadatai1eee')))
  let most = 0
  for (let asked = 0; asked < 5000 && !socket.destroyed; asked += 1) {
    socket.deliver(askForMetadata)
    most = Math.max(most, socket.writableLength)
  }
  assert.ok(socket.destroyed)
  assert.ok(most > MIB / 16 && most <= MIB / 2, `${most} bytes waited`)
})

test('a message that comes byte by byte costs little more than its bytes', async () => {
  await using stranger = await openStranger()
  const { socket } = stranger
  const before = process.memoryUsage()
  socket.deliver(message(5, Buffer.alloc(MIB - 1)).subarray(0, 4))
  // Each with memory of its own, as what is read from a socket.
  for (let sent = 0; sent < MIB / 2; sent += 1) socket.deliver(Buffer.allocUnsafeSlow(1))
  const after = process.memoryUsage()
  const grown = after.heapUsed + after.external - before.heapUsed - before.external
  assert.ok(grown < 48 * MIB, `${grown} bytes`)
})

test('nothing is read behind what ended a connection, not even of the same packet', async () => {
  const socket = new MemorySocket({ port: 1 })
  const wire = bareWire(socket)
  const infoHash = 'ab'.repeat(20)
  socket.deliver(handshake(infoHash))
  wire.handshake(infoHash, 'cd'.repeat(20), {})
  await new Promise(setImmediate)
  const heard: number[] = []
  wire.on('have', (index: number) => heard.push(index))
  const tooLong = Buffer.from('7fffffff', 'hex')
  socket.deliver(Buffer.concat([message(4, 1), tooLong, message(4, 2), message(4, 3)]))
  socket.deliver(message(4, 4))
  assert.deepEqual(heard, [1])
  socket.destroy()
})
