import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { test } from 'node:test'

import { BufferPool } from '../support/buffer-pool.ts'
import { OutgoingMessages } from './outgoing-messages.ts'

const KIB = 1024

test('all bytes leave in their order, in few writes, while chunks are used again', async () => {
  const { socket, sink } = slowSocket()
  const outgoing = new OutgoingMessages({ socket, chunks: new BufferPool({ maxBytes: 256 * KIB }) })
  const messages = Array.from({ length: 900 }, (_, at) => randomBytes(sizeOf(at)))
  for (const [at, message] of messages.entries()) {
    outgoing.send(message)
    // the sender's own again
    const copy = Buffer.from(message)
    messages[at] = copy
    message.fill(0)
    if (at % 30 === 29) await new Promise(setImmediate)
  }
  await new Promise<void>((done) => socket.end(done))
  assert.ok(Buffer.concat(sink.bytes).equals(Buffer.concat(messages)))
  assert.ok(sink.writes < messages.length / 4, `${sink.writes} writes`)
})

test('few bytes that wait in a socket hold no chunk', () => {
  const { socket } = slowSocket()
  const chunks = new BufferPool({ maxBytes: 256 * KIB })
  const outgoing = new OutgoingMessages({ socket, chunks })
  const first = chunks.take(128 * KIB)
  chunks.give(first)
  outgoing.send(Buffer.alloc(17))
  assert.notEqual(chunks.take(128 * KIB), first)
  outgoing.flush()
  assert.equal(chunks.take(128 * KIB), first)
  assert.equal(outgoing.unsentBytes, 17)
})

test('what was to leave when a socket ended or went is dropped without an error', async () => {
  for (const finish of [(socket: Socket) => socket.end(), (socket: Socket) => socket.destroy()]) {
    const { socket } = slowSocket()
    socket.on('error', (error) => assert.fail(error))
    const outgoing = new OutgoingMessages({ socket, chunks: new BufferPool({ maxBytes: 0 }) })
    outgoing.send(Buffer.alloc(17))
    finish(socket)
    await new Promise(setImmediate)
    assert.equal(outgoing.unsentBytes, 0)
  }
})

function sizeOf(at: number): number {
  if (at % 100 === 99) return 200 * KIB
  return at % 2 === 0 ? 13 : 16 * KIB
}

/** Looks at what it is given a turn of the loop later, as a socket that is written to the wire. */
function slowSocket() {
  const sink = { bytes: [] as Buffer[], writes: 0 }
  const writable = new Writable({
    write: (bytes: Buffer, _, onDone) => {
      sink.writes += 1
      setImmediate(() => {
        sink.bytes.push(Buffer.from(bytes))
        onDone()
      })
    },
  })
  return { socket: writable as unknown as Socket, sink }
}
