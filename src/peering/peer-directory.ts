import { EventEmitter } from 'node:events'

import { LRUCache } from 'lru-cache'

import { MAX_HOSTS } from '../support/several-hosts.ts'
import type { NodeHello } from './peer-messages.ts'

/** A node that has proven its membership, and what is remembered of it. */
export interface KnownPeer extends NodeHello {
  /** where it was reached, or where it came from */
  readonly host: string
  /** further addresses of it, the newest first */
  readonly otherHosts: readonly string[]
  seenAtMs: number
  bytesFrom: number
  bytesTo: number
  badPieces: number
  /** of what may be a mishap once, and no more after that */
  strikes: number
  bannedUntilMs: number
  banReason?: string
  /** it did not answer: not asked again before this */
  silentUntilMs: number
}

const MAX_PEERS = 5000
/** Nobody has to do with who was banned for so long. */
export const BAN_MS = 3600e3
// A node that did not answer is left alone for a moment; after an hour it is no longer expected back.
const SILENT_MS = 5000
const MAX_STRIKES = 3
const GONE_MS = 3600e3

/** The nodes this one knows, by id; who misbehaved is remembered and left out. */
export class PeerDirectory extends EventEmitter<{ met: [KnownPeer] }> {
  readonly #peers = new LRUCache<string, KnownPeer>({ max: MAX_PEERS })
  readonly #idsByAddress = new LRUCache<string, string>({ max: 2 * MAX_PEERS })
  readonly #ownId: string

  constructor(ownId: string) {
    super()
    this.#ownId = ownId
  }

  /**
   * Notes that a node introduced itself from `host`. One that is known keeps the address that it was reached at
   * while it answers there, and has one more.
   */
  meet(hello: NodeHello, host: string, nowMs: number = Date.now()): KnownPeer {
    const known = this.#peers.get(hello.nodeId)
    const peer: KnownPeer = {
      bytesFrom: 0,
      bytesTo: 0,
      badPieces: 0,
      strikes: 0,
      bannedUntilMs: 0,
      ...known,
      ...hello,
      ...hostsOf(known, { host: normaliseHost(host), peerPort: hello.peerPort }),
      seenAtMs: nowMs,
      silentUntilMs: 0,
    }
    if (hello.nodeId === this.#ownId) return peer
    this.#peers.set(hello.nodeId, peer)
    this.#idsByAddress.set(`${normaliseHost(host)}:${peer.peerPort}`, hello.nodeId)
    this.emit('met', peer)
    return peer
  }

  /** It answers there: at one of its addresses. */
  prefer(nodeId: string, host: string): void {
    const peer = this.#peers.get(nodeId)
    const preferred = normaliseHost(host)
    if (peer?.otherHosts.includes(preferred) !== true) return
    const others = peer.otherHosts.filter((each) => each !== preferred)
    Object.assign(peer, { host: preferred, otherHosts: [peer.host, ...others] })
  }

  byId(nodeId: string): KnownPeer | undefined {
    return this.#peers.get(nodeId)
  }

  byAddress(host: string, port: number): KnownPeer | undefined {
    const id = this.#idsByAddress.get(`${normaliseHost(host)}:${port}`)
    return id === undefined ? undefined : this.#peers.get(id)
  }

  /** Those that may be asked, the most recently seen first. */
  usable(nowMs: number = Date.now()): KnownPeer[] {
    return this.all(nowMs).filter(
      (peer) => peer.bannedUntilMs <= nowMs && peer.silentUntilMs <= nowMs,
    )
  }

  /** Everybody who was seen in the last hour, those who do not answer now among them. */
  all(nowMs: number = Date.now()): KnownPeer[] {
    return [...this.#peers.values()]
      .filter(({ seenAtMs, bannedUntilMs }) => nowMs - seenAtMs < GONE_MS || bannedUntilMs > nowMs)
      .sort((a, b) => b.seenAtMs - a.seenAtMs)
  }

  /** Nobody asks or dials a banned node for an hour. */
  ban(nodeId: string, reason: string, nowMs: number = Date.now()): void {
    const peer = this.#peers.get(nodeId)
    if (!peer) return
    peer.bannedUntilMs = nowMs + BAN_MS
    peer.banReason = reason
  }

  /** As if it had never been met. */
  forget(nodeId: string): void {
    this.#peers.delete(nodeId)
  }

  /** @returns whether it is one too many */
  strike(nodeId: string): boolean {
    const peer = this.#peers.get(nodeId)
    if (!peer) return false
    peer.strikes += 1
    return peer.strikes >= MAX_STRIKES
  }

  isBanned(peer: KnownPeer | undefined, nowMs: number = Date.now()): boolean {
    return peer !== undefined && peer.bannedUntilMs > nowMs
  }

  /** A node that did not answer, at no address: the next questions go to others. */
  onSilent(nodeId: string, nowMs: number = Date.now()): void {
    const peer = this.#peers.get(nodeId)
    if (!peer) return
    peer.silentUntilMs = nowMs + SILENT_MS
    // The last one has the most time.
    const [next, ...others] = peer.otherHosts
    if (next !== undefined) Object.assign(peer, { host: next, otherHosts: [...others, peer.host] })
  }
}

function hostsOf(
  known: KnownPeer | undefined,
  { host, peerPort }: { host: string; peerPort: number },
): Pick<KnownPeer, 'host' | 'otherHosts'> {
  if (known?.peerPort !== peerPort) return { host, otherHosts: [] }
  const isAnswering = known.silentUntilMs === 0
  const [preferred, newest] = isAnswering ? [known.host, host] : [host, known.host]
  const others = new Set([newest, ...known.otherHosts])
  others.delete(preferred)
  return { host: preferred, otherHosts: [...others].slice(0, MAX_HOSTS - 1) }
}

/** `::ffff:10.0.0.1` is 10.0.0.1 on a dual-stack socket. */
export function normaliseHost(host: string): string {
  return host.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/, '')
}
