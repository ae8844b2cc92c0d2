import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'

import { connectOptions } from './several-hosts.ts'

test('goes on to the next address where nobody answers, and connects once', async () => {
  const server = createServer((socket) => socket.end())
  let connections = 0
  server.on('connection', () => (connections += 1))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const [host, otherHosts] of [
    ['127.0.0.1', []],
    ['::1', ['127.0.0.1']],
    ['127.0.0.2', ['::1', '127.0.0.1']],
    ['127.0.0.1', ['::1']],
    // TEST-NET-1 (RFC 5737): nobody has it
    ['localhost', ['192.0.2.1']],
  ] as const) {
    const socket = connect(connectOptions({ host, port, otherHosts }))
    await once(socket, 'connect')
    assert.equal(socket.remoteAddress, '127.0.0.1', host)
    socket.resume()
    await once(socket, 'close')
  }
  assert.equal(connections, 5)
  server.close()
  await once(server, 'close')
})

test('fails where none of them answers', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const socket = connect(connectOptions({ host: '::1', port, otherHosts: ['127.0.0.1'] }))
  const [error] = (await once(socket, 'error')) as [Error & { code?: string }]
  assert.equal(error.code, 'ECONNREFUSED')
})
