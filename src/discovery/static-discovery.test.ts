import assert from 'node:assert/strict'
import { test } from 'node:test'

import { StaticDiscovery } from './static-discovery.ts'

const peers = [{ host: 'node-1.example', port: 7000 }]

test('gives the named peers and all addresses of the names, at their port', async () => {
  const named = new StaticDiscovery({
    peers,
    names: [{ name: 'tasks.ddocker', port: 6881 }],
    resolve: async () => ['10.0.0.1', 'fd00::1', '10.0.0.1'],
  })
  assert.deepEqual(await Array.fromAsync(named.findPeers()), [
    ...peers,
    { host: '10.0.0.1', port: 6881 },
    { host: 'fd00::1', port: 6881 },
  ])
})

test('does not wait for a name to give the named peers, and asks for it once at a time', async () => {
  const answer = Promise.withResolvers<string[]>()
  let questionCount = 0
  const named = new StaticDiscovery({
    peers,
    names: [{ name: 'slow', port: 6881 }],
    resolve: () => {
      questionCount += 1
      return answer.promise
    },
  })
  const [first, second] = [named.findPeers(), named.findPeers()]
  assert.deepEqual((await first.next()).value, peers[0])
  assert.deepEqual((await second.next()).value, peers[0])
  answer.resolve(['10.0.0.1'])
  const later = { value: { host: '10.0.0.1', port: 6881 }, done: false }
  assert.deepEqual(await Promise.all([first.next(), second.next()]), [later, later])
  await Array.fromAsync(named.findPeers())
  assert.equal(questionCount, 1)
})

test('a name that is not answered costs only its own peers', async () => {
  const named = new StaticDiscovery({
    peers,
    names: [
      { name: 'gone', port: 1 },
      { name: 'there', port: 2 },
    ],
    resolve: async (name) => {
      if (name === 'gone') throw new Error('ENOTFOUND')
      return ['10.0.0.2']
    },
  })
  assert.deepEqual(await Array.fromAsync(named.findPeers()), [
    ...peers,
    { host: '10.0.0.2', port: 2 },
  ])
})

test('takes no more than 64 addresses of a name', async () => {
  const named = new StaticDiscovery({
    names: [{ name: 'many', port: 1 }],
    resolve: async () => Array.from({ length: 200 }, (_, index) => `10.0.0.${index}`),
  })
  assert.equal((await Array.fromAsync(named.findPeers())).length, 64)
})

test('finds the addresses of localhost by itself', async () => {
  const named = new StaticDiscovery({ names: [{ name: 'localhost', port: 6881 }] })
  const hosts = (await Array.fromAsync(named.findPeers())).map(({ host }) => host)
  assert.ok(hosts.includes('127.0.0.1') || hosts.includes('::1'))
})
