import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'

import { PeerChannel } from './peer-channel.ts'

const peer = (port: number) => ({ host: '10.0.0.1', port })

test('gives every address once, as it comes, and ends when it is ended', async () => {
  const channel = new PeerChannel()
  const reading = Array.fromAsync(channel.read())
  channel.push(peer(1))
  channel.push(peer(1))
  await Promise.resolve()
  channel.push(peer(2))
  channel.end()
  channel.push(peer(3))
  assert.deepEqual(await reading, [peer(1), peer(2)])
})

test('gives a late reader everything from the first', async () => {
  const channel = new PeerChannel()
  channel.push(peer(1))
  assert.deepEqual(await Array.fromAsync(channel.read({ limit: 1 })), [peer(1)])
  channel.push(peer(2))
  assert.deepEqual(await Array.fromAsync(channel.read({ limit: 2 })), [peer(1), peer(2)])
})

test('a reader whose signal fires while it waits ends without an error', async () => {
  const channel = new PeerChannel()
  const stopping = new AbortController()
  const reading = Array.fromAsync(channel.read({ signal: stopping.signal }))
  channel.push(peer(1))
  await setImmediate()
  stopping.abort(new Error('enough'))
  assert.deepEqual(await reading, [peer(1)])
})

test('ends by itself when 500 addresses have come', async () => {
  const channel = new PeerChannel()
  for (let port = 1; port <= 600; port += 1) channel.push(peer(port))
  assert.equal((await Array.fromAsync(channel.read())).length, 500)
})
