import assert from 'node:assert/strict'
import { test } from 'node:test'

import bencode from 'bencode'
import type Wire from 'bittorrent-protocol'

import { endpointOf, PeerExchange, type PeerEndpoint } from './peer-exchange.ts'

const CASES: readonly [name: string, wire: object, endpoint: unknown][] = [
  [
    'a peer that we dialed listens where we dialed it, although it says no port',
    { type: 'tcpOutgoing', remotePort: 7000, peerExtendedHandshake: {} },
    { host: '10.0.0.7', port: 7000 },
  ],
  [
    'a peer that we dialed cannot pass itself off as its neighbour',
    { type: 'tcpOutgoing', remotePort: 7000, peerExtendedHandshake: { p: 6881 } },
    { host: '10.0.0.7', port: 7000 },
  ],
  [
    'a peer that dialed us listens on the port that it says',
    { type: 'tcpIncoming', remotePort: 50_123, peerExtendedHandshake: { p: 6881 } },
    { host: '10.0.0.7', port: 6881 },
  ],
  [
    'a peer that dialed us and says no port cannot be dialed',
    { type: 'tcpIncoming', remotePort: 50_123, peerExtendedHandshake: {} },
    undefined,
  ],
  [
    'a port that is none is not taken',
    { type: 'tcpIncoming', remotePort: 50_123, peerExtendedHandshake: { p: 65_536 } },
    undefined,
  ],
]

for (const [name, wire, endpoint] of CASES) {
  test(name, () => {
    const full = { remoteAddress: '::ffff:10.0.0.7', ...wire } as unknown as Wire
    assert.deepEqual(endpointOf(full), endpoint)
  })
}

test('addresses of both families are taken, and nothing else', () => {
  const found: PeerEndpoint[] = []
  const wire = fakeWire()
  new PeerExchange({ onPeers: (peers) => found.push(...peers) }).attach(wire as unknown as Wire)
  const said = [
    '192.0.2.1:6881',
    '[2001:db8::1]:7000',
    '[fe80::1%e0]:6881',
    '2001:db8::2:6881',
    '[192.0.2.2]:6881',
    'node.example:6881',
    '[2001:db8::3]:0',
    '999.0.0.1:6881',
  ]
  wire.extension?.onMessage(bencode.encode({ a: said }))
  assert.deepEqual(found, [
    { host: '192.0.2.1', port: 6881 },
    { host: '2001:db8::1', port: 7000 },
  ])
})

test('peers are told of each other, but of no address that means something to one host only', () => {
  const exchange = new PeerExchange({ onPeers: () => {} })
  const wires = ['2001:db8::1', 'fe80::1%e0', '127.0.0.1', '192.0.2.1'].map(fakeWire)
  for (const wire of wires) {
    exchange.attach(wire as unknown as Wire)
    wire.extension?.onExtendedHandshake()
  }
  assert.deepEqual(
    wires.map(({ told }) => told),
    [
      ['192.0.2.1:6881'],
      ['[2001:db8::1]:6881', '192.0.2.1:6881'],
      ['[2001:db8::1]:6881', '192.0.2.1:6881'],
      ['[2001:db8::1]:6881'],
    ],
  )
})

interface ExtensionOfWire {
  onExtendedHandshake(): void
  onMessage(payload: Uint8Array): void
}

function fakeWire(remoteAddress = '192.0.2.9') {
  const told: string[] = []
  const wire = {
    type: 'tcpOutgoing',
    remoteAddress,
    remotePort: 6881,
    destroyed: false,
    peerExtendedMapping: { dd_peers: 1 },
    told,
    extension: undefined as ExtensionOfWire | undefined,
    use(Extension: new () => ExtensionOfWire) {
      wire.extension = new Extension()
    },
    once() {},
    extended(_name: string, payload: Uint8Array) {
      const { a } = bencode.decode(payload) as { a: Uint8Array[] }
      told.push(...a.map((address) => Buffer.from(address).toString()))
    },
  }
  return wire
}
