import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectPlain, createServer, type AddressInfo, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'

import type { SwarmKey } from '../membership/swarm-key.ts'
import { makeTestAuthority } from '../testing/lab/test-authority.ts'
import { SecureChannel } from './secure-channel.ts'

const key = randomBytes(32) as SwarmKey
const SECRET = 'what members tell each other'

test('members of one swarm speak, and nobody on the way reads it', async (t) => {
  const { port, seen } = await listen(t, new SecureChannel(key))
  const socket = new SecureChannel(key).dial({ host: '127.0.0.1', port })
  socket.write(SECRET)
  assert.equal(String(await once(socket, 'data')), SECRET)
  socket.destroy()
  const raw = Buffer.concat(seen).toString('latin1')
  assert.ok(raw.length > SECRET.length)
  assert.ok(!raw.includes(SECRET))
})

test('who has another key is told nothing, on either side', async (t) => {
  const { port, opened } = await listen(t, new SecureChannel(key))
  const stranger = new SecureChannel(randomBytes(32) as SwarmKey)
  let isReady = false
  const socket = stranger.dial({ host: '127.0.0.1', port }, () => (isReady = true))
  socket.write(SECRET)
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
  assert.match(error.message, /alert|socket/)
  assert.deepEqual([isReady, opened()], [false, 0])
})

test('a server that shows a certificate instead is not taken for a member', async (t) => {
  const authority = await makeTestAuthority()
  const { certificate, key: secret } = await authority.issue()
  const read: Buffer[] = []
  const server = createTlsServer({ cert: certificate, key: secret }, (client) => {
    client.on('error', () => {})
    client.on('data', (bytes) => read.push(bytes))
  })
  const port = await portOf(t, server)
  const socket = new SecureChannel(key).dial({ host: '127.0.0.1', port })
  socket.write(SECRET)
  await once(socket, 'error')
  assert.deepEqual(read, [])
})

test('a client without the key gets no answer to what it says, in TLS or in the open', async (t) => {
  const { port, opened } = await listen(t, new SecureChannel(key))
  const secure = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false })
  await once(secure, 'error')
  for (const said of [SECRET, '\x13BitTorrent protocol', 'GET / HTTP/1.1\r\n\r\n']) {
    const plain = connectPlain({ host: '127.0.0.1', port })
    const heard: Buffer[] = []
    plain.on('data', (bytes) => heard.push(bytes))
    plain.on('error', () => {})
    plain.write(said)
    await once(plain, 'close')
    // at most the alert of TLS (RFC 8446, 6): 7 bytes
    assert.ok(Buffer.concat(heard).length <= 7, Buffer.concat(heard).toString('hex'))
  }
  assert.equal(opened(), 0)
})

test('a handshake that was recorded says nothing when it is played again', async (t) => {
  const { port, seen, opened } = await listen(t, new SecureChannel(key))
  const socket = new SecureChannel(key).dial({ host: '127.0.0.1', port })
  socket.write(SECRET)
  await once(socket, 'data')
  socket.destroy()
  const recorded = Buffer.concat(seen)
  const again = connectPlain({ host: '127.0.0.1', port })
  again.on('error', () => {})
  again.write(recorded)
  again.resume()
  await once(again, 'close')
  assert.equal(opened(), 1)
})

/** A member that says again what it hears; `seen` is what came over the network. */
async function listen(t: TestContext, channel: SecureChannel) {
  const seen: Buffer[] = []
  let opened = 0
  const server = createServer((outer) => {
    // between the network and TLS, as somebody on the way is
    const inner = connectPlain({ host: '127.0.0.1', port: innerPort })
    for (const end of [outer, inner]) end.on('error', () => {})
    outer.on('data', (bytes: Buffer) => seen.push(bytes))
    outer.pipe(inner).pipe(outer)
    inner.once('close', () => outer.destroy())
  })
  const member = createServer((socket: Socket) => {
    const secure = channel.accept(socket)
    secure.on('error', () => socket.destroy())
    secure.once('secure', () => (opened += 1))
    secure.on('data', (bytes: Buffer) => secure.write(bytes))
  })
  const innerPort = await portOf(t, member)
  return { port: await portOf(t, server), seen, opened: () => opened }
}

async function portOf(t: TestContext, server: ReturnType<typeof createServer>): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}
