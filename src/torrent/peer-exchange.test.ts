import assert from 'node:assert/strict'
import { test } from 'node:test'

import type Wire from 'bittorrent-protocol'

import { endpointOf } from './peer-exchange.ts'

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
