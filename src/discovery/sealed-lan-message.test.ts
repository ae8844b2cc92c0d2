import assert from 'node:assert/strict'
import { test } from 'node:test'

import { testSwarmKeys } from '../testing/dht-testnet.ts'
import { DatagramSeal } from './sealed-datagram.ts'
import { formatSealedLanMessage, parseSealedLanMessage } from './sealed-lan-message.ts'

const sealOf = (name: string) =>
  new DatagramSeal({ swarmKeys: testSwarmKeys(name), label: 'dd1/lan\0' })

test('tells members the port, once, and the one who says it nothing', () => {
  const [ours, theirs, others] = [sealOf('ours'), sealOf('ours'), sealOf('others')]
  const message = formatSealedLanMessage(6881, ours)
  assert.equal(parseSealedLanMessage(message, ours), undefined)
  assert.equal(parseSealedLanMessage(message, others), undefined)
  assert.equal(parseSealedLanMessage(message, theirs), 6881)
  assert.equal(parseSealedLanMessage(message, theirs), undefined)
})

test('is no message with a port of zero, or with more or less than a port', () => {
  const [ours, theirs] = [sealOf('ours'), sealOf('ours')]
  for (const body of [[], [1], [0, 0], [1, 2, 3]]) {
    assert.equal(parseSealedLanMessage(ours.seal(Buffer.from(body)), theirs), undefined)
  }
})

test('all messages of all swarms look alike: of one length, and noise', () => {
  const messages = [1, 6881, 65_535].flatMap((port) =>
    ['ours', 'others'].map((name) => formatSealedLanMessage(port, sealOf(name))),
  )
  assert.deepEqual(new Set(messages.map(({ length }) => length)), new Set([220]))
  const parts = messages.flatMap((message) =>
    Array.from({ length: 55 }, (_, at) => message.toString('hex', at * 4, at * 4 + 4)),
  )
  assert.equal(new Set(parts).size, parts.length)
})
