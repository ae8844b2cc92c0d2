import assert from 'node:assert/strict'
import { test } from 'node:test'

import { testSwarmKeys } from '../testing/dht-testnet.ts'
import { AskedSources } from './asked-sources.ts'
import { MAX_MEMBER_MESSAGE_BYTES, MemberEnvelope } from './member-envelope.ts'
import { OwnAddresses } from './own-addresses.ts'
import { DatagramSeal } from './sealed-datagram.ts'
import { SourceLimit } from './source-limit.ts'

const PORT = 6881
const RATE = { perSecond: 0.001, burst: 5 }
const message = Buffer.from('d1:y1:qe')
const at = (host: string, port: number = PORT) => ({ host, port })

/** A member at this address of a network of 256. */
function memberAt(host: string) {
  const asked = new AskedSources()
  const limit = () => new SourceLimit({ perSource: RATE, all: { perSecond: 1, burst: 1000 } })
  const interfaces = () => [{ address: host, cidr: `${host}/24` }]
  const envelope = new MemberEnvelope({
    seal: new DatagramSeal({ swarmKeys: testSwarmKeys('envelope'), label: 'a' }),
    asked,
    ownAddresses: new OwnAddresses({ port: PORT, interfaces }),
    limits: { strangers: limit(), known: limit() },
  })
  return { envelope, asked }
}

test('a message arrives where it is sent to, up to the largest', () => {
  const [a, b] = [memberAt('10.0.0.1'), memberAt('10.0.0.2')]
  for (const bytes of [message, Buffer.alloc(MAX_MEMBER_MESSAGE_BYTES, 7)]) {
    const datagram = a.envelope.seal(bytes, at('10.0.0.2'))
    assert.deepEqual(b.envelope.open(datagram, at('10.0.0.1')), bytes)
    assert.equal(b.envelope.open(datagram, at('10.0.0.1')), undefined)
  }
})

test('what was meant for a neighbour is refused, from wherever on the network it is said again', () => {
  const [a, c] = [memberAt('10.0.0.1'), memberAt('10.0.0.3')]
  for (const from of ['10.0.0.1', '10.0.0.66']) {
    assert.equal(c.envelope.open(a.envelope.seal(message, at('10.0.0.2')), at(from)), undefined)
  }
  const toOtherPort = a.envelope.seal(message, at('10.0.0.3', 7000))
  assert.equal(c.envelope.open(toOtherPort, at('10.0.0.1')), undefined)
})

test('what was meant for a member that answered us is refused, from wherever it comes', () => {
  const [a, c] = [memberAt('10.0.0.1'), memberAt('10.0.0.3')]
  const far = at('192.0.2.7')
  c.asked.ask('192.0.2.7:6881')
  assert.ok(c.asked.takeAnswer('192.0.2.7:6881'))
  assert.equal(c.envelope.open(a.envelope.seal(message, far), at('198.51.100.1')), undefined)
})

test('behind a translator of addresses a node is reached under one that it does not know', () => {
  const [a, c] = [memberAt('192.0.2.1'), memberAt('172.17.0.2')]
  for (const [to, from] of [
    [at('198.51.100.9'), at('192.0.2.1')],
    // The engine's own forwarder, from the same host.
    [at('127.0.0.1', 7000), at('172.17.0.1', 40_000)],
  ] as const) {
    assert.deepEqual(c.envelope.open(a.envelope.seal(message, to), from), message)
  }
})

test('what a node said itself is refused when it is sent back to it', () => {
  const a = memberAt('10.0.0.1')
  const datagram = a.envelope.seal(message, at('198.51.100.9'))
  assert.equal(a.envelope.open(datagram, at('203.0.113.5')), undefined)
})

test('a message to itself arrives', () => {
  const a = memberAt('10.0.0.1')
  const datagram = a.envelope.seal(message, at('10.0.0.1'))
  assert.deepEqual(a.envelope.open(datagram, at('10.0.0.1')), message)
})

test('a flood costs its own address its share, and neither others nor members that are known', () => {
  const [a, b] = [memberAt('10.0.0.1'), memberAt('10.0.0.2')]
  const send = (from: ReturnType<typeof at>) =>
    b.envelope.open(a.envelope.seal(message, at('10.0.0.2')), from)
  b.asked.ask('10.0.0.1:6881')
  b.asked.takeAnswer('10.0.0.1:6881')
  for (let count = 0; count < 100; count += 1) {
    b.envelope.open(Buffer.alloc(220, count), at('10.0.0.1', 40_000 + count))
  }
  assert.equal(send(at('10.0.0.1', 40_000)), undefined)
  assert.deepEqual(send(at('10.0.0.1')), message)
  assert.deepEqual(send(at('10.0.0.9')), message)
  for (let count = 0; count < 100; count += 1) {
    b.envelope.open(Buffer.alloc(220, count), at('10.0.0.1'))
  }
  assert.equal(send(at('10.0.0.1')), undefined)
})
