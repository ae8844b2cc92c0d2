import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, type RequestListener, type ServerResponse } from 'node:http'
import { connect, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'

import { httpRequest } from '../testing/http-request.ts'
import { RawHttp } from '../testing/raw-http.ts'
import { DEFAULT_SERVER_LIMITS } from './drainable-server.ts'
import { listen } from './listen.ts'

const LOOPBACK = { host: '127.0.0.1', port: 0 }
const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((face) => face?.address === '::1')
const needsIpv6 = { skip: !hasIpv6 && 'this machine has no [::1]' }

const sayHello: RequestListener = (_request, response) => void response.end('hello')

/** A listener whose responses the test ends. */
function heldListener() {
  const responses: ServerResponse[] = []
  const { promise: arrived, resolve } = Promise.withResolvers<ServerResponse>()
  const listener: RequestListener = (_request, response) => {
    responses.push(response)
    resolve(response)
  }
  return { listener, arrived, responses }
}

test('answers on both loopback addresses with one port', needsIpv6, async () => {
  await using server = await listen(sayHello, LOOPBACK)
  const { port } = server
  assert.deepEqual(server.addresses, [`127.0.0.1:${port}`, `[::1]:${port}`])
  for (const host of ['127.0.0.1', '::1']) {
    const answer = await httpRequest({ host, port, path: '/' })
    assert.equal(answer.body.toString(), 'hello')
  }
})

test('answers on one address where that one is asked for', needsIpv6, async () => {
  await using server = await listen(sayHello, { host: '[::1]', port: 0 })
  assert.deepEqual(server.addresses, [`[::1]:${server.port}`])
})

test('says that a port is in use', async () => {
  await using server = await listen(sayHello, LOOPBACK)
  await assert.rejects(listen(sayHello, { host: '127.0.0.1', port: server.port }), {
    code: 'PORT_IN_USE',
    message: `wanted to listen on 127.0.0.1:${server.port}, found it in use`,
  })
})

test('leaves nothing bound when the port is taken on [::1] alone', needsIpv6, async () => {
  await using blocker = createServer().listen({ host: '::1', port: 0 })
  await once(blocker, 'listening')
  const { port } = blocker.address() as { port: number }
  await assert.rejects(listen(sayHello, { host: '127.0.0.1', port }), { code: 'PORT_IN_USE' })
  const probe = connect({ host: '127.0.0.1', port })
  const [error] = (await once(probe, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')
})

test('says that an address is not of this host', async () => {
  await assert.rejects(listen(sayHello, { host: '192.0.2.1', port: 0 }), {
    code: 'ADDRESS_UNUSABLE',
  })
})

test('keeps idle connections longer than any client does, and never times a body out', async () => {
  await using server = await listen(sayHello, LOOPBACK)
  using agent = disposable(new Agent({ keepAlive: true }))
  const { headers } = await httpRequest({ port: server.port, path: '/', agent: agent.agent })
  assert.equal(headers['keep-alive'], 'timeout=130')
  const { headersTimeoutMs, keepAliveTimeoutMs } = DEFAULT_SERVER_LIMITS
  assert.ok(headersTimeoutMs > keepAliveTimeoutMs)
})

test('takes 60 kB of headers, and answers 431 to more than 64 KiB', async () => {
  await using server = await listen(sayHello, LOOPBACK)
  const statusWith = async (bytes: number) => {
    using client = await RawHttp.open(server.port)
    client.request('GET', '/', { 'X-Long': 'x'.repeat(bytes) })
    return (await client.readHead()).status
  }
  assert.equal(await statusWith(60_000), 200)
  assert.equal(await statusWith(66_000), 431)
})

test('closes connections beyond its limit', async (t) => {
  const { listener, arrived } = heldListener()
  const server = await listen(listener, LOOPBACK, { limits: { maxConnections: 1 } })
  t.after(() => server.drain({ timeoutMs: 0 }))
  using first = await RawHttp.open(server.port)
  first.request('GET', '/')
  await arrived
  using second = await RawHttp.open(server.port)
  assert.equal((await second.readToEnd()).bytes.length, 0)
})

test('drains: the response under way ends, new connections are refused', async () => {
  const { listener, arrived } = heldListener()
  await using server = await listen(listener, LOOPBACK)
  using client = await RawHttp.open(server.port)
  client.request('GET', '/')
  const response = await arrived
  response.writeHead(200, { 'Content-Length': 10 }).write('first')
  const drained = server.drain()
  const refused = connect({ host: '127.0.0.1', port: server.port })
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')
  response.end(' last')
  assert.equal((await client.readHead()).status, 200)
  assert.deepEqual(await client.readToEnd(), { bytes: Buffer.from('first last'), end: 'fin' })
  await drained
})

test('drains at once past connections that are idle or have sent nothing', async () => {
  await using server = await listen(sayHello, LOOPBACK)
  using idle = await RawHttp.open(server.port)
  idle.request('GET', '/')
  await idle.readHead()
  using silent = await RawHttp.open(server.port)
  using halfway = await RawHttp.open(server.port)
  halfway.send('GET / HT')
  await server.drain({ timeoutMs: 60_000 })
  assert.equal((await silent.readToEnd()).end, 'fin')
})

test('drains no longer than it may', async () => {
  const { listener, arrived } = heldListener()
  const server = await listen(listener, LOOPBACK)
  using client = await RawHttp.open(server.port)
  client.request('GET', '/')
  await arrived
  await server.drain({ timeoutMs: 10 })
  assert.equal((await client.readToEnd()).bytes.length, 0)
})

test('drains once however often it is told to', async () => {
  const server = await listen(sayHello, LOOPBACK)
  await Promise.all([server.drain(), server.drain()])
  await server[Symbol.asyncDispose]()
})

test('answers a TLS ClientHello with a plain 400, and the next request as ever', async () => {
  await using server = await listen(sayHello, LOOPBACK)
  using client = await RawHttp.open(server.port)
  client.send(clientHello())
  const { bytes, end } = await client.readToEnd()
  assert.match(bytes.toString('latin1'), /^HTTP\/1\.1 400 Bad Request\r\n/)
  assert.equal(end, 'fin')
  assert.equal((await httpRequest({ port: server.port, path: '/' })).status, 200)
})

test('outlives a handler that writes after its client has gone, or after its own end', async () => {
  const { listener, arrived, responses } = heldListener()
  await using server = await listen(listener, LOOPBACK)
  const client = await RawHttp.open(server.port)
  client.request('GET', '/')
  const response = await arrived
  client.socket.destroy()
  await once(response, 'close')
  response.write('too late')
  using other = await RawHttp.open(server.port)
  other.request('GET', '/')
  while (responses.length < 2) await new Promise(setImmediate)
  responses[1]?.end('the end')
  responses[1]?.write('too late')
  await other.readHead()
})

function disposable(agent: Agent) {
  return { agent, [Symbol.dispose]: () => agent.destroy() }
}

/** The start of a TLS 1.3 handshake (RFC 8446, ClientHello), with random bytes for what does not matter. */
function clientHello(): Buffer {
  const body = Buffer.concat([
    Buffer.from('0303', 'hex'),
    Buffer.alloc(32, 7),
    Buffer.from('20', 'hex'),
    Buffer.alloc(32, 9),
    Buffer.from('0002130101000009002b0003020304', 'hex'),
  ])
  const handshake = Buffer.concat([Buffer.from([1, 0, 0, body.length]), body])
  return Buffer.concat([Buffer.from([22, 3, 1, 0, handshake.length]), handshake])
}
