import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectPlain, createServer as createPlainServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { connect, createServer, type ConnectionOptions } from 'node:tls'

import { BufferLender } from '../support/buffer-lender.ts'
import { makeTestAuthority } from '../testing/lab/test-authority.ts'
import { BodySocket, type OpenSocket } from './body-socket.ts'

const SLAB_BYTES = 256 * 1024
// No record ends where a buffer ends, so that decrypted bytes are left when a buffer is full.
const RECORD_BYTES = 10_007
const HEAD = (length: number) => Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`)

for (const [what, answer] of [
  ['a head without an end', Buffer.alloc(3 * SLAB_BYTES, 'a')],
  [
    'more than a full buffer that it promised',
    Buffer.concat([HEAD(SLAB_BYTES - 1), Buffer.alloc(3 * SLAB_BYTES)]),
  ],
  ['more than it promised', Buffer.concat([HEAD(SLAB_BYTES / 2), Buffer.alloc(3 * SLAB_BYTES)])],
] as const) {
  test(`a server that sends ${what} over TLS ends its connection, and nothing else`, async (t) => {
    const socket = await connectTo(t, () => answer)
    const readAll = async () => {
      await socket.exchange('GET / HTTP/1.1\r\n\r\n')
      while (await socket.next());
    }
    await assert.rejects(readAll(), SyntaxError)
  })
}

test('a body whose end comes over TLS while its reader pauses leaves the connection usable', async (t) => {
  const sizes = Array.from({ length: 64 }, (_, index) => 2 * SLAB_BYTES + 1000 * (index + 1))
  let answered = 0
  const socket = await connectTo(t, () => {
    const size = sizes[answered++] ?? 0
    return Buffer.concat([HEAD(size), Buffer.alloc(size)])
  })
  for (const size of sizes) {
    await socket.exchange('GET / HTTP/1.1\r\n\r\n')
    // what was decrypted with the bytes that make it pause comes in the same turn
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    let read = 0
    for (let bytes = await socket.next(); bytes; bytes = await socket.next()) read += bytes.length
    assert.equal(read, size)
  }
})

test('a body that nobody reads is left to its sender, and comes whole when it is read', async (t) => {
  const size = 64 * SLAB_BYTES
  const server = createPlainServer((client) => {
    client.on('error', () => {})
    client.once('data', () => {
      client.write(HEAD(size))
      client.write(Buffer.alloc(size))
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  let plain: Socket | undefined
  const socket = new BodySocket(
    (options) => (plain = connectPlain({ host: '127.0.0.1', port, ...options })),
    new BufferLender({ maxBytes: 0 }),
  )
  t.after(() => socket.destroy())
  await socket.exchange('GET / HTTP/1.1\r\n\r\n')
  for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate)
  assert.ok((plain?.bytesRead ?? Infinity) <= 2 * SLAB_BYTES, `${plain?.bytesRead} bytes were read`)
  let read = 0
  for (let bytes = await socket.next(); bytes; bytes = await socket.next()) read += bytes.length
  assert.equal(read, size)
})

/** A server over TLS that answers whatever comes, and a connection to it. */
async function connectTo(t: TestContext, answer: () => Buffer): Promise<BodySocket> {
  const authority = await makeTestAuthority()
  const { certificate, key } = await authority.issue()
  const server = createServer({ cert: certificate, key }, (client) => {
    client.on('error', () => {})
    client.on('data', () => {
      const bytes = answer()
      for (let at = 0; at < bytes.length; at += RECORD_BYTES) {
        client.write(bytes.subarray(at, at + RECORD_BYTES))
      }
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const ca = authority.certificate
  const open: OpenSocket = (options) =>
    connect({ host: '127.0.0.1', port, ca, ...options } satisfies ConnectionOptions &
      Parameters<OpenSocket>[0])
  const socket = new BodySocket(open, new BufferLender({ maxBytes: 0 }))
  t.after(() => socket.destroy())
  return socket
}
