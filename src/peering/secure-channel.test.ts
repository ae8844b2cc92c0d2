import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectPlain, createServer, type AddressInfo, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import {
  connect as connectTls,
  createSecureContext,
  createServer as createTlsServer,
  TLSSocket,
  type TlsOptions,
  type TLSSocketOptions,
} from 'node:tls'

import { makeNodeIdentity, type NodeIdentity } from '../membership/node-identity.ts'
import { deriveKey, type SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { makeTestAuthority } from '../testing/lab/test-authority.ts'
import { memberSecrets } from './channel-secret.ts'
import { SecureChannel } from './secure-channel.ts'

const key = randomBytes(32) as SwarmKey
const OTHER = randomBytes(32) as SwarmKey
const SECRET = 'what members tell each other'

test('members of one swarm speak, each knows who the other is, and nobody on the way reads it', async (t) => {
  const [alpha, beta] = [makeNodeIdentity(), makeNodeIdentity()]
  const { port, seen, opened } = await listen(t, channelOf({ identity: beta }))
  const { channel, socket } = await dialled(port, { identity: alpha })
  socket.write(SECRET)
  assert.equal(String(await once(socket, 'data')), SECRET)
  socket.destroy()
  assert.deepEqual([opened, channel.memberAt(socket)], [[alpha.nodeId], beta.nodeId])
  const raw = Buffer.concat(seen)
  assert.ok(raw.length > SECRET.length)
  for (const hidden of [Buffer.from(SECRET), alpha.publicKey, beta.publicKey])
    assert.ok(!raw.includes(hidden))
})

test('who has another key is told nothing, on either side', async (t) => {
  const { port, opened } = await listen(t, channelOf())
  await assert.rejects(
    dialled(port, { secrets: memberSecrets(new SwarmKeys(randomBytes(32) as SwarmKey)) }),
    /alert|socket/,
  )
  assert.deepEqual(opened, [])
})

test('a server that shows a certificate instead is not taken for a member', async (t) => {
  const authority = await makeTestAuthority()
  const { certificate, key: secret } = await authority.issue()
  const read: Buffer[] = []
  const server = createTlsServer({ cert: certificate, key: secret }, (client) => {
    client.on('error', () => {})
    client.on('data', (bytes) => read.push(bytes))
  })
  await assert.rejects(dialled(await portOf(t, server)))
  assert.deepEqual(read, [])
})

test('a client without the key gets no answer to what it says, in TLS or in the open', async (t) => {
  const { port, opened } = await listen(t, channelOf())
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
  assert.deepEqual(opened, [])
})

test('a handshake that was recorded says nothing when it is played again', async (t) => {
  const { port, seen, opened } = await listen(t, channelOf())
  const { socket } = await dialled(port)
  socket.write(SECRET)
  await once(socket, 'data')
  socket.destroy()
  const recorded = Buffer.concat(seen)
  const again = connectPlain({ host: '127.0.0.1', port })
  again.on('error', () => {})
  again.write(recorded)
  again.resume()
  await once(again, 'close')
  assert.equal(opened.length, 1)
})

test('a member cannot pass for another one, neither with a key of its own nor with what that one signed', async (t) => {
  const victim = makeNodeIdentity()
  const signatures: Buffer[] = []
  const watched: NodeIdentity = {
    ...victim,
    sign: (message) => {
      const signature = victim.sign(message)
      signatures.push(signature)
      return signature
    },
  }
  const { port, opened } = await listen(t, channelOf())
  const { socket } = await dialled(port, { identity: watched })
  socket.destroy()
  const other = makeNodeIdentity()
  for (const sign of [
    (message: Uint8Array) => other.sign(message),
    () => signatures[0] ?? Buffer.alloc(64),
    () => randomBytes(64),
  ]) {
    await cutOff(port, { identity: { ...victim, sign } })
  }
  assert.deepEqual(opened, [victim.nodeId])
})

test('what a member signed as a client is worth nothing from a server', async (t) => {
  const secureContext = createSecureContext({
    maxVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256',
  })
  const mirror = createServer((socket) => {
    const options: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = {
      isServer: true,
      secureContext,
      pskCallback: () => deriveKey(key, 'dd1/tls\0'),
    }
    const secure = new TLSSocket(socket, options)
    secure.on('error', () => {})
    secure.pipe(secure)
  })
  await assert.rejects(dialled(await portOf(t, mirror)), { code: 'REQUEST_UNPROVEN' })
})

test('who is not welcome is cut off before it can say anything, whoever dials', async (t) => {
  const banned = makeNodeIdentity()
  const isWelcome = (nodeId: string) => nodeId !== banned.nodeId
  const { port, opened } = await listen(t, channelOf({ isWelcome }))
  await cutOff(port, { identity: banned })
  assert.deepEqual(opened, [])
  const elsewhere = await listen(t, channelOf({ identity: banned }))
  await assert.rejects(dialled(elsewhere.port, { isWelcome }), { code: 'NODE_UNREACHABLE' })
})

test('who never proves anything is not waited for', async (t) => {
  const silent = createServer((socket) => void socket.on('error', () => {}).resume())
  const port = await portOf(t, silent)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const failed = assert.rejects(dialled(port), { code: 'NODE_UNREACHABLE' })
  await once(silent, 'connection')
  t.mock.timers.tick(5000)
  await failed
})

test('connections of one swarm cannot be told from those of another by what begins them', async (t) => {
  const { port, seen } = await listen(t, channelOf())
  const beginnings: Buffer[] = []
  for (let round = 0; round < 2; round += 1) {
    const { socket } = await dialled(port)
    socket.destroy()
    beginnings.push(Buffer.concat(seen.splice(0)))
  }
  const [first, second] = beginnings
  assert.ok(first && second)
  // a TLS client says its cipher suites, its groups and the like: nothing of 16 bytes that another one would not say
  const stranger = await listen(t, channelOf({ secrets: memberSecrets(new SwarmKeys(OTHER)) }))
  const { socket } = await dialled(stranger.port, { secrets: memberSecrets(new SwarmKeys(OTHER)) })
  socket.destroy()
  const usual = Buffer.concat(stranger.seen)
  for (let at = 0; at + 16 <= first.length; at += 1) {
    const run = first.subarray(at, at + 16)
    if (second.includes(run)) assert.ok(usual.includes(run), run.toString('hex'))
  }
})

function channelOf(options: Partial<ConstructorParameters<typeof SecureChannel>[0]> = {}) {
  return new SecureChannel({
    secrets: memberSecrets(new SwarmKeys(key)),
    identity: makeNodeIdentity(),
    ...options,
  })
}

/** Connects, and waits until the other side has proven who it is. @throws what it fails with */
async function dialled(
  port: number,
  options: Partial<ConstructorParameters<typeof SecureChannel>[0]> = {},
) {
  const channel = channelOf(options)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = channel.dial({ host: '127.0.0.1', port }, (error) =>
    error ? reject(error) : resolve(),
  )
  socket.on('error', () => {})
  await promise
  return { channel, socket }
}

/** Connects as somebody whom the other side will not have, and waits until it has said so. */
async function cutOff(
  port: number,
  options: Partial<ConstructorParameters<typeof SecureChannel>[0]>,
): Promise<void> {
  const socket = channelOf(options).dial({ host: '127.0.0.1', port }, () => {})
  socket.on('error', () => {})
  socket.resume()
  await once(socket, 'close', { signal: AbortSignal.timeout(10_000) })
}

/** A member that says again what it hears; `seen` is what came over the network, `opened` who was met. */
async function listen(t: TestContext, channel: SecureChannel) {
  const seen: Buffer[] = []
  const opened: (string | undefined)[] = []
  const server = createServer((outer) => {
    // between the network and TLS, as somebody on the way is
    const inner = connectPlain({ host: '127.0.0.1', port: innerPort })
    for (const end of [outer, inner]) end.on('error', () => {})
    outer.on('data', (bytes: Buffer) => seen.push(bytes))
    outer.pipe(inner).pipe(outer)
    inner.once('close', () => outer.destroy())
  })
  const member = createServer((socket: Socket) => {
    channel.accept(socket, (secure) => {
      opened.push(channel.memberAt(secure))
      secure.on('data', (bytes: Buffer) => secure.write(bytes))
    })
  })
  const innerPort = await portOf(t, member)
  return { port: await portOf(t, server), seen, opened }
}

async function portOf(t: TestContext, server: ReturnType<typeof createServer>): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}
