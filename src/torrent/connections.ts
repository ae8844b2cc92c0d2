import { connect, type Socket } from 'node:net'

import type Wire from 'bittorrent-protocol'
import type WebTorrent from 'webtorrent'
import type { Torrent } from 'webtorrent'
import Peer from 'webtorrent/lib/peer.js'

import { connectOptions, type SeveralHosts } from '../support/several-hosts.ts'
import { endpointOf, type PeerEndpoint } from './peer-exchange.ts'
import { isAt, nodeIdOf, socketOf } from './wire-identity.ts'

/** Whom to connect to. */
export interface DialedPeer extends SeveralHosts {
  /** who is there, where that is known */
  readonly nodeId?: string
}

/** How connections are made in a closed swarm, where each side proves who it is. */
export interface Channel {
  /** @param onReady called when bytes may be written; with an error where they never may */
  dial(peer: DialedPeer, onReady: (error?: Error) => void): Socket
  /** whether a peer that has just refused may take the next try */
  hasOtherKeyFor(endpoint: PeerEndpoint, error: Error): boolean
  memberAt(socket: Socket): string | undefined
}

const CONNECT_TIMEOUT_MS = 1500
const MAX_DIALED = 32

/** Which peers the torrents of a node are connected to, by whom, and who is behind a wire. */
export class Connections {
  readonly #client: WebTorrent
  readonly #channel: Channel | undefined
  readonly #banned = new Map<string, number>()

  /** @param channel plain TCP without it */
  constructor(client: WebTorrent, channel: Channel | undefined) {
    this.#client = client
    this.#channel = channel
  }

  /** A peer is taken no more until then, by node id or by `host:port`. */
  ban(peer: string, untilMs: number, nowMs: number = Date.now()): void {
    for (const [each, endMs] of this.#banned) if (endMs <= nowMs) this.#banned.delete(each)
    this.#banned.set(peer, untilMs)
  }

  /** @param peer a node id or `host:port` */
  isBanned(peer: string, nowMs: number = Date.now()): boolean {
    return (this.#banned.get(peer) ?? 0) > nowMs
  }

  /**
   * One connection per pair, the one that the smaller peer id dialed, or the older of two that one side dialed; none
   * to ourselves.
   */
  isWelcome(torrent: Torrent, wire: Wire): boolean {
    const own = this.#client.peerId
    if (wire.peerId === null || wire.peerId === own) return false
    this.#endOtherRunsOf(torrent, wire)
    const twin = torrent.wires.find(
      (other) => other !== wire && !other.destroying && other.peerId === wire.peerId,
    )
    if (!twin) return true
    if (twin.type === wire.type) return false
    const isKept = wire.type.endsWith('Outgoing') === own < wire.peerId
    if (isKept) twin.destroy()
    return isKept
  }

  /** Connects to a peer unless it is connected, being connected or banned. */
  dial(torrent: Torrent, dialed: DialedPeer): void {
    const { host, port, otherHosts = [] } = dialed
    const addresses = [host, ...otherHosts].map((each) => `${each}:${port}`)
    const [address = ''] = addresses
    const peers = torrent._peers
    if (torrent.destroyed || !peers || peers.size >= MAX_DIALED) return
    if (addresses.some((each) => peers.has(each) || this.isBanned(each))) return
    if (torrent.wires.some((wire) => this.#isThere(torrent, wire, dialed))) return
    const peer = Peer.createTCPOutgoingPeer(
      address,
      torrent,
      this.#client.throttleGroups,
      'manual',
      0,
    )
    const channel = this.#channel
    const dial = channel ? channel.dial.bind(channel) : dialPlainly
    const socket = dial(dialed, (error) => {
      clearTimeout(timer)
      if (!error) {
        // the wire is to know which one it is
        if (otherHosts.length > 0) peer.addr = `${socket.remoteAddress ?? host}:${port}`
        peer.onConnect()
        return
      }
      peer.destroy(error)
      if (channel?.hasOtherKeyFor(dialed, error) === true)
        setImmediate(() => this.dial(torrent, dialed))
    })
    peer.conn = socket
    torrent._registerPeer(peer)
    const timer = setTimeout(() => peer.destroy(new Error('connect timeout')), CONNECT_TIMEOUT_MS)
    socket.once('error', (error) => {
      clearTimeout(timer)
      peer.destroy(error)
    })
  }

  /** A node has one peer id for as long as it runs: wires with another one are of an earlier run, or one too many. */
  #endOtherRunsOf(torrent: Torrent, wire: Wire): void {
    const member = this.#memberBehind(torrent, wire)
    if (member === undefined) return
    const others = torrent.wires.filter(
      (other) =>
        other !== wire &&
        other.peerId !== wire.peerId &&
        this.#memberBehind(torrent, other) === member,
    )
    for (const other of others) other.destroy()
  }

  #memberBehind(torrent: Torrent, wire: Wire): string | undefined {
    const socket = socketOf(torrent, wire)
    return socket && this.#channel?.memberAt(socket)
  }

  #isThere(torrent: Torrent, wire: Wire, { host, port, nodeId }: DialedPeer): boolean {
    const proven = this.#memberBehind(torrent, wire)
    return isAt(wire, host, port) || (proven !== undefined && proven === nodeId)
  }

  /** Who is behind a wire: what its connection has proven counts before what its handshake says. */
  nodeIdOf(torrent: Torrent, wire: Wire): string | undefined {
    return this.#memberBehind(torrent, wire) ?? nodeIdOf(wire)
  }

  isBannedWire(torrent: Torrent, wire: Wire): boolean {
    const endpoint = endpointOf(wire)
    const nodeId = this.nodeIdOf(torrent, wire)
    return (
      (nodeId !== undefined && this.isBanned(nodeId)) ||
      (endpoint !== undefined && this.isBanned(`${endpoint.host}:${endpoint.port}`))
    )
  }
}

function dialPlainly(peer: DialedPeer, onReady: (error?: Error) => void): Socket {
  const socket = connect({ ...connectOptions(peer), noDelay: true })
  socket.once('connect', () => onReady())
  return socket
}
