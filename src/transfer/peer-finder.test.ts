import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'

import { MemoryDiscovery, MemoryRendezvous } from '../discovery/memory-discovery.ts'
import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf } from '../oci/digest.ts'
import { PeerClient } from '../peering/peer-client.ts'
import { PeerDirectory } from '../peering/peer-directory.ts'
import { PeerFinder } from './peer-finder.ts'

const swarmKeys = new SwarmKeys(PUBLIC_SWARM_KEY)

const hello = (nodeId: string, peerPort: number) => ({
  nodeId: nodeId.repeat(64),
  nodeName: nodeId,
  version: '0',
  peerPort,
})

test('says that nobody known has it once all of them have answered', async (t) => {
  using client = new PeerClient(swarmKeys)
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.after(() => {
    silent.closeAllConnections()
    silent.close()
  })
  const { port: silentPort } = silent.address() as AddressInfo
  const digests = [digestOf(Buffer.from('wanted'))]
  for (const [ports, wanted] of [
    [[1], 1], // nobody listens there
    [[1, silentPort], 0],
  ] as const) {
    const directory = new PeerDirectory('a'.repeat(64))
    for (const [index, port] of ports.entries()) {
      directory.meet(hello(String(index), port), '127.0.0.1')
    }
    const address = { host: '127.0.0.1', port: 1 }
    const finder = new PeerFinder({
      client,
      directory,
      discovery: new MemoryDiscovery({ rendezvous: new MemoryRendezvous(), address }),
      keys: new RendezvousKeys(swarmKeys),
      self: () => hello('a', 1),
    })
    const stop = new AbortController()
    silent.once('request', () => stop.abort())
    let told = 0
    const onAbsent = () => void (told += 1)
    const search = finder.holders(digests, { images: [], signal: stop.signal, onAbsent })
    for await (const { blob } of search) assert.fail(`${blob.digest} was found`)
    assert.equal(told, wanted)
  }
})

test('gives up a question that is under way without a trace when its signal fires', async (t) => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  using client = new PeerClient(swarmKeys)
  t.after(() => {
    silent.closeAllConnections()
    silent.close()
  })
  const directory = new PeerDirectory('a'.repeat(64))
  directory.meet(hello('b', port), '127.0.0.1')
  const address = { host: '127.0.0.1', port: 1 }
  const finder = new PeerFinder({
    client,
    directory,
    discovery: new MemoryDiscovery({ rendezvous: new MemoryRendezvous(), address }),
    keys: new RendezvousKeys(swarmKeys),
    self: () => hello('a', 1),
  })
  // node:test counts only what it sees in time: an unhandled rejection would end a node
  const unhandled: unknown[] = []
  const onUnhandled = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', onUnhandled)
  t.after(() => process.off('unhandledRejection', onUnhandled))

  const stop = new AbortController()
  silent.once('request', () => stop.abort())
  const found: unknown[] = []
  const digests = [digestOf(Buffer.from('wanted'))]
  for await (const holder of finder.holders(digests, { images: [], signal: stop.signal })) {
    found.push(holder)
  }
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual({ found, unhandled }, { found: [], unhandled: [] })
})
