import { isIP, isIPv6 } from 'node:net'

import bencode from 'bencode'
import type Wire from 'bittorrent-protocol'

import { asDictionary, decodeBencode } from '../support/bencode.ts'
import { formatHostAndPort } from '../support/host-and-port.ts'

/** Where a peer takes connections. */
export interface PeerEndpoint {
  readonly host: string
  readonly port: number
}

const EXTENSION = 'dd_peers'
const MAX_PEERS_PER_MESSAGE = 32
const MAX_MESSAGES_PER_SECOND = 20

/**
 * Tells the nodes of one blob of each other (BEP 10 extension `dd_peers`, `{ a: ["host:port", …] }`) the moment
 * they connect: ut_pex waits a minute, which is longer than most transfers.
 */
export class PeerExchange {
  readonly #endpoints = new Map<Wire, PeerEndpoint>()
  readonly #onPeers: (peers: readonly PeerEndpoint[]) => void

  constructor({ onPeers }: { onPeers: (peers: readonly PeerEndpoint[]) => void }) {
    this.#onPeers = onPeers
  }

  attach(wire: Wire): void {
    const onPeers = this.#onPeers
    const onHandshake = () => this.#onHandshake(wire)
    let budget = MAX_MESSAGES_PER_SECOND
    let budgetAtMs = Date.now()
    class Extension {
      onExtendedHandshake(): void {
        onHandshake()
      }

      onMessage(payload: Uint8Array): void {
        if (Date.now() - budgetAtMs > 1000) {
          budget = MAX_MESSAGES_PER_SECOND
          budgetAtMs = Date.now()
        }
        budget -= 1
        if (budget >= 0) onPeers(parsePeers(payload))
      }
    }
    Object.defineProperty(Extension.prototype, 'name', { value: EXTENSION })
    wire.use(Extension)
    wire.once('close', () => this.#endpoints.delete(wire))
  }

  #onHandshake(wire: Wire): void {
    const endpoint = endpointOf(wire)
    if (!endpoint || this.#endpoints.has(wire)) return
    const others = [...this.#endpoints]
    this.#endpoints.set(wire, endpoint)
    send(
      wire,
      others
        .slice(-MAX_PEERS_PER_MESSAGE)
        .map(([, other]) => other)
        .filter(isUsefulTo(endpoint)),
    )
    for (const [other, at] of others) send(other, [endpoint].filter(isUsefulTo(at)))
  }
}

/**
 * Where the peer behind a wire listens: where we dialed it; else its address with the port of its extended
 * handshake (BEP 10, `p`), which clients such as libtorrent say only to whom they dial.
 */
export function endpointOf(wire: Wire): PeerEndpoint | undefined {
  const { type, remoteAddress, remotePort, peerExtendedHandshake } = wire
  const port = type.endsWith('Outgoing') ? remotePort : peerExtendedHandshake['p']
  if (typeof port !== 'number' || !isPort(port) || remoteAddress === undefined) return undefined
  return { host: remoteAddress.replace(/^::ffff:/, ''), port }
}

function send(wire: Wire, peers: readonly PeerEndpoint[]): void {
  if (peers.length === 0 || wire.destroyed || wire.peerExtendedMapping[EXTENSION] === undefined)
    return
  const addresses = peers.map(formatHostAndPort)
  wire.extended(EXTENSION, bencode.encode({ a: addresses }))
}

/** A loopback address means something on the same host only, a link-local one to who said it. */
function isUsefulTo(receiver: PeerEndpoint): (peer: PeerEndpoint) => boolean {
  return ({ host }) => !isLinkLocal(host) && (!isLoopback(host) || isLoopback(receiver.host))
}

function isLinkLocal(host: string): boolean {
  return host.toLowerCase().startsWith('fe80:')
}

function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1'
}

function parsePeers(payload: Uint8Array): PeerEndpoint[] {
  const list = asDictionary(decodeBencode(payload))?.get('a')
  if (!Array.isArray(list)) return []
  return list.slice(0, MAX_PEERS_PER_MESSAGE).flatMap((entry) => {
    const text = entry instanceof Buffer && entry.length < 64 ? entry.toString() : ''
    const [, inBrackets, plain, port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? []
    const host = inBrackets !== undefined && isIPv6(inBrackets) ? inBrackets : (plain ?? '')
    const isAddress = isIP(host) !== 0 && !host.includes('%')
    return isAddress && isPort(Number(port)) ? [{ host, port: Number(port) }] : []
  })
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65_536
}
