/** One node under several addresses is one peer: it is asked where it answers, and nowhere twice. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'

import { makeNodeIdentity } from '../membership/node-identity.ts'
import { RequestVerifier } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { memberSecrets } from './channel-secret.ts'
import { PeerClient } from './peer-client.ts'
import { PeerDirectory } from './peer-directory.ts'
import type { NodeHello } from './peer-messages.ts'
import { PeerServer, type PeerHandlers } from './peer-server.ts'
import { SecureChannel } from './secure-channel.ts'

const keys = new SwarmKeys(randomBytes(32) as SwarmKey)
const hello: NodeHello = { nodeId: 'a'.repeat(64), nodeName: 'alpha', version: '1', peerPort: 7 }

for (const kind of ['open', 'closed']) {
  test(`a question goes on to the next address where nobody answers, ${kind} swarm`, async () => {
    const [asked, asking] = [makeNodeIdentity(), makeNodeIdentity()]
    const channelOf = (identity: typeof asked) =>
      kind === 'open' ? undefined : new SecureChannel({ secrets: memberSecrets(keys), identity })
    const { nodeId } = asked
    await using server = await PeerServer.open({
      host: '::1',
      port: 0,
      verifier: new RequestVerifier(keys),
      handlers: { hello: () => ({ ...hello, nodeId }) } as unknown as PeerHandlers,
      channel: channelOf(asked),
    })
    using client = new PeerClient(keys, channelOf(asking))
    const self = { ...hello, nodeId: asking.nodeId }
    const peer = { host: '127.0.0.1', port: server.port, nodeId }
    await assert.rejects(client.hello(peer, self), { code: 'NODE_UNREACHABLE' })
    const otherHosts = ['127.0.0.2', '::1']
    assert.equal((await client.hello({ ...peer, otherHosts }, self)).reachedAt, '::1')
  })
}

test('where a member answered it is looked for first the next time', async () => {
  const [asked, asking] = [makeNodeIdentity(), makeNodeIdentity()]
  const secrets = memberSecrets(keys)
  const door = new SecureChannel({ secrets, identity: asked })
  await using server = await acceptWith((socket) => door.accept(socket, () => {}))
  await using silent = await acceptWith(() => {}, { host: '127.0.0.2', port: server.port })
  const channel = new SecureChannel({ secrets, identity: asking })
  const { nodeId } = asked
  const peer = { host: '127.0.0.3', otherHosts: ['127.0.0.1'], port: server.port, nodeId }
  const dial = async (more: Partial<typeof peer>) => {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>()
    const socket = channel.dial({ ...peer, ...more }, resolve)
    assert.equal(await promise, undefined)
    socket.destroy()
  }
  await dial({})
  await dial({ host: '127.0.0.2' })
  assert.equal(silent.accepted, 0)
  assert.equal(server.accepted, 2)
})

test('the directory keeps one peer with its addresses, the one that answers first', () => {
  const directory = new PeerDirectory('f'.repeat(64))
  const addresses = () => {
    const { host, otherHosts } = directory.byId(hello.nodeId) ?? { host: '', otherHosts: [] }
    return [host, ...otherHosts]
  }
  for (const host of ['10.0.0.1', 'fd00::1', '::ffff:10.0.0.1', 'fe80::1%e0', '10.0.0.1'])
    directory.meet(hello, host)
  assert.deepEqual(addresses(), ['10.0.0.1', 'fe80::1%e0', 'fd00::1'])
  assert.equal(directory.all().length, 1)
  for (const host of addresses()) assert.equal(directory.byAddress(host, 7)?.nodeId, hello.nodeId)

  directory.prefer(hello.nodeId, 'fd00::1')
  assert.deepEqual(addresses(), ['fd00::1', '10.0.0.1', 'fe80::1%e0'])
  directory.prefer(hello.nodeId, '192.0.2.1')
  assert.deepEqual(addresses(), ['fd00::1', '10.0.0.1', 'fe80::1%e0'])

  directory.onSilent(hello.nodeId)
  assert.deepEqual(addresses(), ['10.0.0.1', 'fe80::1%e0', 'fd00::1'])
  directory.meet(hello, '10.0.0.9')
  assert.deepEqual(addresses(), ['10.0.0.9', '10.0.0.1', 'fe80::1%e0', 'fd00::1'])
  directory.meet(hello, '10.0.0.10')
  assert.deepEqual(addresses(), ['10.0.0.9', '10.0.0.10', '10.0.0.1', 'fe80::1%e0'])

  directory.meet({ ...hello, peerPort: 8 }, '10.0.0.1')
  assert.deepEqual(addresses(), ['10.0.0.1'])
})

interface Door extends AsyncDisposable {
  readonly port: number
  readonly accepted: number
}

async function acceptWith(
  onSocket: (socket: Socket) => void,
  { host = '127.0.0.1', port = 0 } = {},
): Promise<Door> {
  const sockets: Socket[] = []
  const server: Server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}))
    onSocket(socket)
  })
  server.listen(port, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get accepted() {
      return sockets.length
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
