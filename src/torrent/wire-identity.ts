import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'

import type Wire from 'bittorrent-protocol'
import type { Torrent } from 'webtorrent'

import { endpointOf } from './peer-exchange.ts'

/** Peer ids of our nodes begin so (BEP 20). */
const PEER_ID_PREFIX = '-DD0100-'

/** A peer id of this run of this node. */
export function makePeerId(): Buffer {
  return Buffer.concat([Buffer.from(PEER_ID_PREFIX), randomBytes(20 - PEER_ID_PREFIX.length)])
}

/** Whether a node of ours is behind a wire. */
export function isOurs(wire: Wire): boolean {
  return wire.peerId?.startsWith(Buffer.from(PEER_ID_PREFIX).toString('hex')) === true
}

/** Who a node of ours says it is (extended handshake, `dd`). */
export function nodeIdOf(wire: Wire): string | undefined {
  const said = wire.peerExtendedHandshake['dd']
  const text = said instanceof Uint8Array ? Buffer.from(said).toString() : ''
  return /^[0-9a-f]{64}$/.test(text) ? text : undefined
}

/** Whether a wire leads to the peer that listens there. */
export function isAt(wire: Wire, host: string, port: number): boolean {
  const endpoint = endpointOf(wire)
  return endpoint?.host === host && endpoint.port === port
}

/** The socket under a wire. */
export function socketOf(torrent: Torrent, wire: Wire): Socket | undefined {
  for (const peer of torrent._peers?.values() ?? [])
    if (peer.wire === wire) return peer.conn ?? undefined
  return undefined
}

/** Ends a wire whose peer says that it has pieces which the blob has not: all that it says is kept. */
export function boundPeerPieces(wire: Wire, pieceCount: number): void {
  wire.on('bitfield', ({ buffer }: { buffer: Uint8Array }) => {
    if (buffer.length > Math.ceil(pieceCount / 8)) wire.destroy()
  })
  wire.on('have', (index: number) => {
    if (index >= pieceCount) wire.destroy()
  })
}
