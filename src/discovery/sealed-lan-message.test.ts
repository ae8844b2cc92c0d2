import assert from 'node:assert/strict'
import { test } from 'node:test'

import { testSwarmKeys } from '../testing/dht-testnet.ts'
import { DatagramSeal } from './sealed-datagram.ts'
import { formatSealedLanMessage, parseSealedLanMessage } from './sealed-lan-message.ts'

const sealOf = (name: string) =>
  new DatagramSeal({ swarmKeys: testSwarmKeys(name), label: 'dd1/lan\0' })

const HERE = '192.0.2.1'
const greeting = { port: 6881, addresses: [HERE, 'fe80::1'] }

test('tells members the port, once, and the one who says it nothing', () => {
  const [ours, theirs, others] = [sealOf('ours'), sealOf('ours'), sealOf('others')]
  const message = formatSealedLanMessage(greeting, ours)
  assert.equal(parseSealedLanMessage(message, { seal: ours, from: HERE }), undefined)
  assert.equal(parseSealedLanMessage(message, { seal: others, from: HERE }), undefined)
  assert.equal(parseSealedLanMessage(message, { seal: theirs, from: HERE }), 6881)
  assert.equal(parseSealedLanMessage(message, { seal: theirs, from: HERE }), undefined)
})

test('is taken from the addresses that it names, whatever the link is called here, and from no other', () => {
  for (const [from, port] of [
    [HERE, 6881],
    ['fe80::1%wlan0', 6881],
    ['192.0.2.2', undefined],
    ['fe80::2%wlan0', undefined],
    ['', undefined],
  ] as const) {
    const message = formatSealedLanMessage(greeting, sealOf('ours'))
    assert.equal(parseSealedLanMessage(message, { seal: sealOf('ours'), from }), port, from)
  }
})

test('is no message with a port of zero, or without a port or an address', () => {
  const ours = sealOf('ours')
  const said = sealOf('ours').open(formatSealedLanMessage(greeting, sealOf('ours')))
  const addresses = said?.subarray(2) ?? Buffer.alloc(0)
  assert.equal(addresses.length, 16)
  const noPort = Buffer.concat([Buffer.alloc(2), addresses])
  for (const body of [[], [1], [0, 0], [1, 2], [1, 2, 3], noPort]) {
    const datagram = ours.seal(Buffer.from(body))
    assert.equal(parseSealedLanMessage(datagram, { seal: sealOf('ours'), from: HERE }), undefined)
  }
})

test('all messages of all swarms look alike: of one length, and noise', () => {
  const many = Array.from({ length: 100 }, (_, index) => `192.0.2.${index}`)
  const messages = [[HERE], many].flatMap((addresses) =>
    ['ours', 'others'].map((name) =>
      formatSealedLanMessage({ port: 6881, addresses }, sealOf(name)),
    ),
  )
  assert.deepEqual(new Set(messages.map(({ length }) => length)), new Set([220]))
  const parts = messages.flatMap((message) =>
    Array.from({ length: 55 }, (_, at) => message.toString('hex', at * 4, at * 4 + 4)),
  )
  assert.equal(new Set(parts).size, parts.length)
})
