import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'

import { makeNodeIdentity } from '../membership/node-identity.ts'
import { proveRequest, RequestVerifier } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf } from '../oci/digest.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { PeerClient } from './peer-client.ts'
import { PeerDirectory } from './peer-directory.ts'
import type { NodeHello, WarmOrder, WarmReport } from './peer-messages.ts'
import { PeerServer, type PeerHandlers } from './peer-server.ts'
import { memberSecrets } from './channel-secret.ts'
import { SecureChannel } from './secure-channel.ts'

const key = randomBytes(32) as SwarmKey
const keys = new SwarmKeys(key)
const digest = digestOf('x')
const identity = makeNodeIdentity()
const self: NodeHello = { nodeId: identity.nodeId, nodeName: 'alpha', version: '1', peerPort: 1 }
const order: WarmOrder = { nodeId: 'b'.repeat(64), references: ['app:1'], load: false, parallel: 1 }

test('a member asks and is answered', async () => {
  await using server = await startServer()
  using client = new PeerClient(keys)
  const peer = { host: '127.0.0.1', port: server.port }
  assert.deepEqual(await client.hello(peer, self), {
    ...self,
    nodeName: 'beta',
    reachedAt: '127.0.0.1',
  })
  assert.deepEqual(await client.have(peer, [digest]), [{ digest, size: 1, state: 'complete' }])
  assert.deepEqual(await client.references(peer, ['app:1']), [{ name: 'app:1' }])
  assert.equal((await client.metainfo(peer, digest))?.toString(), 'metainfo')
  const chunks: Uint8Array[] = []
  for await (const chunk of (await client.blob(peer, digest)) ?? []) chunks.push(chunk)
  assert.equal(Buffer.concat(chunks).toString(), 'x')
  const reports: WarmReport[] = []
  for await (const report of client.warm(peer, order)) reports.push(report)
  assert.deepEqual(
    reports.map(({ state }) => state),
    ['moving', 'done'],
  )
})

test('what a node does not have is nothing, not an error', async () => {
  await using server = await startServer({
    metainfo: async () => undefined,
    blob: async () => undefined,
  })
  using client = new PeerClient(keys)
  const peer = { host: '127.0.0.1', port: server.port }
  assert.equal(await client.metainfo(peer, digest), undefined)
  assert.equal(await client.blob(peer, digest), undefined)
})

test('a stranger is refused whatever it asks, and learns nothing', async () => {
  await using server = await startServer()
  using stranger = new PeerClient(new SwarmKeys(randomBytes(32) as SwarmKey))
  const peer = { host: '127.0.0.1', port: server.port }
  await assert.rejects(stranger.hello(peer, self), { code: 'REQUEST_UNPROVEN' })
  await assert.rejects(stranger.have(peer, [digest]), { code: 'REQUEST_UNPROVEN' })
  await assert.rejects(Array.fromAsync(stranger.warm(peer, order)), { code: 'REQUEST_UNPROVEN' })
  const answer = await fetch(`http://127.0.0.1:${server.port}/dd/1/hello`, { method: 'POST' })
  assert.equal(answer.status, 403)
  assert.equal(await answer.text(), '')
})

test('a report without an end, or that is none, ends the order and nothing else', async (t) => {
  const endless = Buffer.alloc(1024 * 1024, 'a')
  for (const [lines, code] of [
    [Readable.from(Array.from({ length: 64 }, () => endless)), 'MESSAGE_INVALID'],
    [Readable.from([Buffer.from('no json\n')]), 'MESSAGE_INVALID'],
    [Readable.from([Buffer.from('{"state":"done"}\n')]), 'MESSAGE_INVALID'],
  ] as const) {
    const server = createHttpServer((_, response) => lines.pipe(response))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.after(() => {
      server.close()
      server.closeAllConnections()
    })
    const { port } = server.address() as AddressInfo
    using client = new PeerClient(keys)
    const asked = Array.fromAsync(client.warm({ host: '127.0.0.1', port }, order))
    await assert.rejects(asked, { code })
  }
})

test('an order that was caught cannot be given again', async () => {
  await using server = await startServer()
  const body = Buffer.from(JSON.stringify(order))
  const proof = proveRequest({ method: 'POST', path: '/dd/1/warm', body }, key)
  const send = () =>
    fetch(`http://127.0.0.1:${server.port}/dd/1/warm`, {
      method: 'POST',
      body,
      headers: { authorization: proof },
    })
  assert.equal((await send()).status, 200)
  assert.equal((await send()).status, 403)
})

test('a blob that is larger than it should be is cut off', async () => {
  const endless = async () => ({ size: 2000, content: Readable.from([Buffer.alloc(2000)]) })
  await using server = await startServer({ blob: endless })
  using client = new PeerClient(keys)
  const content = await client.blob({ host: '127.0.0.1', port: server.port }, digest, {
    maxBytes: 1000,
  })
  await assert.rejects(Array.fromAsync(content ?? []), { code: 'BLOB_SIZE_MISMATCH' })
})

test('a member gets one whole blob at a time, and other questions do not wait for it', async () => {
  const held = Promise.withResolvers<void>()
  let given = 0
  async function* slowly() {
    yield Buffer.from('x')
    await held.promise
    yield Buffer.from('y')
  }
  await using server = await startServer({
    blob: async () => {
      given += 1
      return { size: 2, content: Readable.from(slowly()) }
    },
  })
  using client = new PeerClient(keys)
  const peer = { host: '127.0.0.1', port: server.port }
  const first = await client.blob(peer, digest)
  const second = client.blob(peer, digest)
  assert.equal((await client.have(peer, [digest])).length, 1)
  assert.equal(given, 1)
  held.resolve()
  assert.equal(Buffer.concat(await Array.fromAsync(first ?? [])).toString(), 'xy')
  assert.equal(Buffer.concat(await Array.fromAsync((await second) ?? [])).toString(), 'xy')
})

test('a node that is not there is said to be unreachable', async () => {
  using client = new PeerClient(keys)
  await assert.rejects(client.hello({ host: '127.0.0.1', port: 1 }, self), {
    code: 'NODE_UNREACHABLE',
  })
})

for (const [kind, channel] of [
  ['open', undefined],
  ['closed', new SecureChannel({ secrets: memberSecrets(keys), identity })],
] as const) {
  test(`garbage on the peer port of ${kind} swarms ends connections, never the server; BitTorrent is handed on`, async (t) => {
    const random = new SeededRandom(Date.now())
    t.diagnostic(`seed ${random.seed}`)
    const handed = Promise.withResolvers<Buffer>()
    const handlers: Partial<PeerHandlers> = {
      bitTorrent: (socket) => void socket.once('data', (bytes: Buffer) => handed.resolve(bytes)),
    }
    await using server = await startServer(handlers, channel)
    const lines = [
      'GET / HTTP/1.1\r\n\r\n',
      'POST /dd/1/have HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n',
      '\r\n\r\n',
    ]
    for (let round = 0; round < 100; round += 1) {
      const text =
        round % 2 === 0 ? Buffer.from(random.pick(lines)) : random.bytes(random.below(300) + 1)
      if (text[0] === 19) text[0] = 20
      const socket = connect(server.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.end(text)
      socket.resume()
      await once(socket, 'close')
    }
    const to = { host: '127.0.0.1', port: server.port }
    const say = () => void peer.write('\u0013BitTorrent protocol')
    const peer: Socket = channel ? channel.dial(to, say) : connect(to, say)
    peer.on('error', () => {})
    assert.equal((await handed.promise).toString(), '\u0013BitTorrent protocol')
    peer.destroy()
    using client = new PeerClient(keys, channel)
    assert.equal((await client.hello(to, self)).nodeName, 'beta')
  })
}

for (const channel of [undefined, new SecureChannel({ secrets: memberSecrets(keys), identity })]) {
  test(`who holds connections open keeps nobody out, ${channel ? 'closed' : 'open'} swarm`, async (t) => {
    await using server = await startServer({}, channel)
    const to = { host: '127.0.0.1', port: server.port }
    const silent = Array.from({ length: 600 }, () =>
      connect(to)
        .on('error', () => {})
        .resume(),
    )
    t.after(() => {
      for (const socket of silent) socket.destroy()
    })
    const { promise: mostEnded, resolve } = Promise.withResolvers<void>()
    let ended = 0
    for (const socket of silent) socket.once('close', () => (ended += 1) === 537 && resolve())
    await Promise.all(silent.map((socket) => once(socket, 'connect')))
    using client = new PeerClient(keys, channel)
    assert.equal((await client.hello(to, self)).nodeName, 'beta')
    // 64 of one host may be silent; the newest had one of these places until it spoke
    await mostEnded
    await new Promise((done) => setImmediate(done))
    assert.equal(ended, 537)
  })
}

test('in a closed swarm nobody says hello as somebody else, and nobody else answers', async () => {
  const channelOf = (who = makeNodeIdentity()) =>
    new SecureChannel({ secrets: memberSecrets(keys), identity: who })
  await using server = await startServer({}, channelOf())
  const to = { host: '127.0.0.1', port: server.port }
  using liar = new PeerClient(keys, channelOf())
  await assert.rejects(liar.hello(to, self), { code: 'REQUEST_UNPROVEN' })
  using member = new PeerClient(keys, channelOf(identity))
  // this server says that it is whoever asks
  await assert.rejects(member.hello(to, self), { code: 'MESSAGE_INVALID' })
  await assert.rejects(member.have({ ...to, nodeId: 'b'.repeat(64) }, [digest]), {
    code: 'NODE_UNREACHABLE',
  })
  assert.equal((await member.have(to, [digest])).length, 1)
})

test('an encrypted handshake is closed without a word, so that the client says a plain one', async () => {
  await using server = await startServer()
  const socket = connect({ port: server.port, host: '127.0.0.1' })
  const heard: Buffer[] = []
  socket.on('data', (bytes: Buffer) => heard.push(bytes))
  // A reset says no more than the end does.
  socket.on('error', () => {})
  // Message stream encryption begins with a public key of 96 bytes, which look like noise.
  socket.write(Buffer.concat([Buffer.from([0xb0]), randomBytes(95)]))
  await new Promise((closed) => socket.once('close', closed))
  assert.equal(Buffer.concat(heard).toString(), '')
})

test('who asks again before the answer has come is cut off; of several connections some wait', async () => {
  const asked: (() => void)[] = []
  const have: PeerHandlers['have'] = async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    asked.push(resolve)
    await promise
    return []
  }
  await using server = await startServer({ have })
  const to = { host: '127.0.0.1', port: server.port }
  using client = new PeerClient(keys)
  using second = new PeerClient(keys)
  const answers = [client, client, client, client, second].map((each) => each.have(to, [digest]))
  while (asked.length < 4) await new Promise(setImmediate)
  const [first, ...others] = asked
  first?.()
  await answers[0]
  while (asked.length < 5) await new Promise(setImmediate)
  for (const answer of [...others, ...asked.slice(4)]) answer()
  await Promise.all(answers)

  const body = JSON.stringify({ digests: [digest] })
  const question = () => {
    const proof = proveRequest({ method: 'POST', path: '/dd/1/have', body: Buffer.from(body) }, key)
    return `POST /dd/1/have HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\nAuthorization: ${proof}\r\n\r\n${body}`
  }
  const hasty = connect(to).on('error', () => {})
  hasty.write(question() + question())
  hasty.resume()
  await once(hasty, 'close')
  assert.equal(asked.length, 6)
  asked.at(-1)?.()
})

test('the directory forgets nobody who is silent for a moment, and leaves out who is banned', () => {
  const directory = new PeerDirectory('f'.repeat(64))
  const peer = directory.meet({ ...self, peerPort: 7 }, '::ffff:10.0.0.7', 1000)
  assert.equal(directory.byAddress('10.0.0.7', 7), peer)
  directory.onSilent(self.nodeId, 2000)
  assert.deepEqual(directory.usable(2001), [])
  assert.deepEqual(directory.all(2001), [peer])
  assert.deepEqual(directory.usable(9000), [peer])
  directory.ban(self.nodeId, 'lied', 10_000)
  assert.deepEqual(directory.usable(11_000), [])
  assert.ok(directory.isBanned(peer, 11_000))
  directory.meet({ ...self, nodeId: 'f'.repeat(64) }, '10.0.0.8')
  assert.equal(directory.byId('f'.repeat(64)), undefined)
})

function startServer(
  changes: Partial<PeerHandlers> = {},
  channel?: SecureChannel,
): Promise<PeerServer> {
  const handlers: PeerHandlers = {
    hello: (caller) => ({ ...caller, nodeName: 'beta' }),
    have: async (digests) =>
      digests.map((each) => ({ digest: each, size: 1, state: 'complete' as const })),
    references: async (names) => names.map((name) => ({ name })),
    metainfo: async () => Buffer.from('metainfo'),
    blob: async () => ({ size: 1, content: Readable.from([Buffer.from('x')]) }),
    warm: async function* () {
      const report = { size: 1, done: 0, bytes: { store: 0, peers: 0, upstream: 0 }, loaded: false }
      yield { ...report, state: 'moving' as const }
      yield { ...report, state: 'done' as const }
    },
    keys: async (question) => ({ question }),
    join: async () => undefined,
    bitTorrent: (socket) => void socket.destroy(),
    ...changes,
  }
  return PeerServer.open({
    host: '127.0.0.1',
    port: 0,
    verifier: new RequestVerifier(keys),
    handlers,
    channel,
  })
}
