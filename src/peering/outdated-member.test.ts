/** Who has a key that has ended: known members may ask which one there is now, and nothing else. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'

import { makeNodeIdentity, type NodeIdentity } from '../membership/node-identity.ts'
import { RequestVerifier } from '../membership/request-proof.ts'
import { makeSwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf } from '../oci/digest.ts'
import { memberSecrets } from './channel-secret.ts'
import { PeerClient } from './peer-client.ts'
import { PeerServer, type PeerHandlers } from './peer-server.ts'
import { SecureChannel } from './secure-channel.ts'

const [old, next] = [makeSwarmKey(), makeSwarmKey()]
const [known, stranger, revoked] = [makeNodeIdentity(), makeNodeIdentity(), makeNodeIdentity()]
const digest = digestOf('x')

test('a member that was off is told of keys, and of nothing else', async () => {
  await using server = await startServer()
  const { peer, asked } = server
  using client = clientOf(known, new SwarmKeys(old))
  const told: unknown[] = []
  client.on('outdated', (address) => told.push(address.port))
  const self = { nodeId: known.nodeId, nodeName: 'x', version: '1', peerPort: 1 }
  const order = { nodeId: 'b'.repeat(64), references: ['app:1'], load: false, parallel: 1 }
  const questions = [
    () => client.hello(peer, self),
    () => client.have(peer, [digest]),
    () => client.references(peer, ['local/app:1']),
    () => client.metainfo(peer, digest),
    () => client.blob(peer, digest),
    () => Array.fromAsync(client.warm(peer, order)),
  ]
  for (const question of questions) await assert.rejects(question(), { code: 'SWARM_KEY_OUTDATED' })
  assert.deepEqual(
    told.slice(0, 5),
    Array.from({ length: 5 }, () => peer.port),
  )
  assert.deepEqual(asked, [])
  assert.deepEqual(await client.keys(peer, { orders: [] }), { from: known.nodeId })
})

test('BitTorrent is not spoken with it', async () => {
  await using server = await startServer()
  for (const [key, count] of [
    [old, 0],
    [next, 1],
  ] as const) {
    const channel = channelOf(known, new SwarmKeys(key))
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const socket = channel.dial(server.peer, (error) => (error ? reject(error) : resolve()))
    await promise
    const closed = new Promise((done) => socket.once('close', done))
    socket.on('error', () => {})
    socket.resume()
    socket.write(Buffer.from([19, ...Buffer.from('BitTorrent protocol')]))
    await closed
    assert.equal(server.asked.length, count)
  }
})

test('strangers, and who was shut out, are told nothing with it: not even who is there', async () => {
  await using server = await startServer()
  for (const identity of [stranger, revoked]) {
    using client = clientOf(identity, new SwarmKeys(old))
    await assert.rejects(client.keys(server.peer, { orders: [] }), { code: 'NODE_UNREACHABLE' })
  }
  using client = clientOf(revoked, new SwarmKeys(next))
  await assert.rejects(client.have(server.peer, [digest]), { code: 'NODE_UNREACHABLE' })
  using member = clientOf(stranger, new SwarmKeys(next))
  assert.equal((await member.have(server.peer, [digest])).length, 1)
})

test('who has both keys is let in with the one that the other side has, at the first try', async () => {
  await using server = await startServer()
  const newest = makeSwarmKey()
  using client = clientOf(stranger, new SwarmKeys(newest, next))
  assert.equal((await client.have(server.peer, [digest])).length, 1)
  using other = clientOf(stranger, new SwarmKeys(newest))
  await assert.rejects(other.have(server.peer, [digest]), { code: 'REQUEST_UNPROVEN' })
})

test('a connection that ends while something is asked over it is made again', async () => {
  await using server = await startServer()
  using client = clientOf(stranger, new SwarmKeys(next))
  await client.have(server.peer, [digest])
  server.cutNext()
  assert.equal((await client.have(server.peer, [digest])).length, 1)
  assert.equal(server.asked.length, 3)
})

test('who refuses a key and then says nothing is not dialled again and again', async (t) => {
  let connections = 0
  // the alert for a handshake that has failed (RFC 8446, 6.2)
  const alert = Buffer.from([21, 3, 3, 0, 2, 2, 40])
  const fickle = createServer((socket) => {
    connections += 1
    socket.on('error', () => {})
    if (connections > 1) socket.destroy()
    else socket.once('data', () => socket.end(alert))
  }).listen(0, '127.0.0.1')
  t.after(() => fickle.close())
  await once(fickle, 'listening')
  const { port } = fickle.address() as AddressInfo
  using client = clientOf(known, new SwarmKeys(next, old, makeSwarmKey()))
  await assert.rejects(client.have({ host: '127.0.0.1', port }, [digest]))
  assert.equal(connections, 2)
})

function channelOf(identity: NodeIdentity, keys: SwarmKeys): SecureChannel {
  return new SecureChannel({ secrets: memberSecrets(keys), identity })
}

function clientOf(identity: NodeIdentity, keys: SwarmKeys): PeerClient {
  return new PeerClient(keys, channelOf(identity, keys))
}

/** A node whose swarm has changed its key, and what peers asked of it. */
async function startServer() {
  const keys = new SwarmKeys(next)
  keys.set({
    current: next,
    accepted: [next],
    former: [{ key: old, endedAtMs: 100 }],
    metAtMs: new Map([
      [known.nodeId, 50],
      [stranger.nodeId, 150],
      [revoked.nodeId, 50],
    ]),
    revoked: new Set([revoked.nodeId]),
  })
  const asked: string[] = []
  let isCut = false
  const handlers: PeerHandlers = {
    hello: (caller) => {
      asked.push('hello')
      return caller
    },
    have: async (digests) => {
      asked.push('have')
      if (isCut) channel.closeWhere(() => true)
      isCut = false
      return digests.map((each) => ({ digest: each, size: 1, state: 'complete' as const }))
    },
    references: async () => {
      asked.push('references')
      return []
    },
    metainfo: async () => {
      asked.push('metainfo')
      return Buffer.alloc(1)
    },
    blob: async () => {
      asked.push('blob')
      return { size: 1, content: Readable.from([Buffer.alloc(1)]) }
    },
    warm: async function* () {
      asked.push('warm')
      yield* []
    },
    keys: async (_question, nodeId) => ({ from: nodeId }),
    join: async () => undefined,
    bitTorrent: (socket) => {
      asked.push('BitTorrent')
      socket.destroy()
    },
  }
  const channel = new SecureChannel({
    secrets: memberSecrets(keys),
    identity: makeNodeIdentity(),
    admissionOf: (nodeId, key) => keys.admissionOf(nodeId, key),
  })
  const verifier = new RequestVerifier(keys)
  const server = await PeerServer.open({ host: '127.0.0.1', port: 0, verifier, handlers, channel })
  return {
    asked,
    cutNext: () => {
      isCut = true
    },
    peer: { host: '127.0.0.1', port: server.port },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
