import assert from 'node:assert/strict'
import { test } from 'node:test'

import { collect, testKey } from './dht-testnet.ts'
import { formatPeerAddress, type Discovery, type PeerAddress } from '../discovery/discovery.ts'

/** Nodes that can find each other, closed with `await using`. */
export interface ConformanceNet extends AsyncDisposable {
  readonly nodes: readonly { readonly discovery: Discovery; readonly address: PeerAddress }[]
  /** what was announced has arrived */
  settled(): Promise<void>
}

/** What every Discovery does: run by its implementations, the memory twin included. */
export function testDiscovery(
  name: string,
  openNet: (count: number) => Promise<ConformanceNet>,
): void {
  const key = testKey('conformance')
  const names = (addresses: PeerAddress[]) => addresses.map(formatPeerAddress).sort()

  test(`${name}: everybody finds everybody who announced, each once, and itself`, async () => {
    await using net = await openNet(4)
    const [, ...holders] = net.nodes
    for (const { discovery } of holders) discovery.announce(key)
    await net.settled()
    const wanted = names(holders.map(({ address }) => address))
    for (const { discovery } of net.nodes) {
      assert.deepEqual(names(await collect(discovery, key)), wanted)
    }
  })

  test(`${name}: finds nobody where nobody announced, and comes to an end`, async () => {
    await using net = await openNet(2)
    const [a, b] = net.nodes
    b?.discovery.announce(key)
    await net.settled()
    assert.deepEqual(await Array.fromAsync(a?.discovery.findPeers(testKey('other')) ?? []), [])
  })

  test(`${name}: gives no more than the limit`, async () => {
    await using net = await openNet(4)
    for (const { discovery } of net.nodes) discovery.announce(key)
    await net.settled()
    for (const { discovery } of net.nodes) {
      assert.equal((await collect(discovery, key, { limit: 2 })).length, 2)
    }
  })

  test(`${name}: ends without an error when the signal fires, also before the start`, async () => {
    await using net = await openNet(3)
    for (const { discovery } of net.nodes) discovery.announce(key)
    await net.settled()
    for (const { discovery } of net.nodes) {
      const stopping = new AbortController()
      let count = 0
      for await (const _ of discovery.findPeers(key, { signal: stopping.signal })) {
        count += 1
        stopping.abort()
      }
      assert.equal(count, 1)
      assert.deepEqual(await collect(discovery, key, { signal: stopping.signal }), [])
    }
  })

  test(`${name}: two readers of one key get all of it, also when one leaves early`, async () => {
    await using net = await openNet(3)
    for (const { discovery } of net.nodes) discovery.announce(key)
    await net.settled()
    const wanted = names(net.nodes.map(({ address }) => address))
    for (const { discovery } of net.nodes) {
      const found = await Promise.all([
        collect(discovery, key),
        collect(discovery, key, { limit: 1 }),
        collect(discovery, key),
      ])
      assert.deepEqual(names(found[0]), wanted)
      assert.deepEqual(names(found[2]), wanted)
      assert.equal(found[1].length, 1)
    }
  })

  test(`${name}: counts the keys it keeps, each once, until they are withdrawn`, async () => {
    await using net = await openNet(1)
    for (const { discovery, address } of net.nodes) {
      for (const name of ['a', 'b', 'a']) discovery.announce(testKey(name))
      assert.equal(discovery.stats().announcedKeys, 2)
      assert.deepEqual(await collect(discovery, testKey('a')), [address])
      discovery.withdraw(testKey('a'))
      discovery.withdraw(testKey('never announced'))
      assert.equal(discovery.stats().announcedKeys, 1)
      assert.deepEqual(await collect(discovery, testKey('a')), [])
    }
  })

  test(`${name}: a closed one finds nobody, announces nothing and closes again`, async () => {
    await using net = await openNet(2)
    for (const { discovery } of net.nodes) discovery.announce(key)
    await net.settled()
    for (const { discovery } of net.nodes) {
      const running = collect(discovery, key)
      await discovery[Symbol.asyncDispose]()
      await running
      discovery.announce(testKey('late'))
      assert.deepEqual(await collect(discovery, testKey('late')), [])
      await discovery[Symbol.asyncDispose]()
    }
  })
}
