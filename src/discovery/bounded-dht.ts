import DHT, { type DhtNode } from 'bittorrent-dht'

import { AnnouncedPeers } from './announced-peers.ts'
import type { DhtTuning } from './dht-tuning.ts'
import type { GuardedSocket } from './guarded-socket.ts'
import { boundReplies } from './reply-bound.ts'

interface BoundedDhtOptions {
  readonly socket: GuardedSocket
  readonly isPublic: boolean
  readonly tuning: DhtTuning
  /** this node as a peer of the key, if it says so itself */
  readonly myselfAt: (key: string) => readonly Buffer[]
}

const MAX_LOOKUP_TABLES = 64
const MAX_PEERS_PER_KEY = 500
// Three times the announce interval, as long as most of mainline.
const PEER_BOUNDS = {
  maxAgeMs: 30 * 60_000,
  maxPeers: 200_000,
  maxPeersPerKey: MAX_PEERS_PER_KEY,
}
const MAX_PEERS_PER_PUBLIC_HOST = 32
// BEP 5: the 8 closest. A closed swarm gives what fits, for fewer rounds.
const MAX_PUBLIC_NODES = 8
const MAX_NODES = 20

/** A DHT that keeps, answers and believes no more than it should: the library bounds none of it. */
export function makeBoundedDht({ socket, isPublic, tuning, myselfAt }: BoundedDhtOptions): DHT {
  const dht = new DHT({
    socket,
    bootstrap: false,
    timeout: tuning.timeoutMs,
    concurrency: tuning.concurrency,
    maxTables: MAX_LOOKUP_TABLES,
    maxValues: 1,
  })
  const { _peers: unbounded, _rpc: rpc } = dht
  unbounded.destroy()
  const maxPeersPerHost = isPublic ? MAX_PEERS_PER_PUBLIC_HOST : MAX_PEERS_PER_KEY
  Object.assign(dht, { _peers: new AnnouncedPeers({ ...PEER_BOUNDS, maxPeersPerHost }) })
  const maxNodes = isPublic ? MAX_PUBLIC_NODES : MAX_NODES
  boundReplies(rpc, {
    maxNodes,
    budgetBytes: () => socket.replyBudget,
    closestNodes: (key) => dht.nodes.closest(key, maxNodes),
    myselfAt,
  })
  keepStrangersOut(dht, socket)
  return dht
}

/**
 * The library takes whoever asks into its routing table, and a node tells those in its table all that it has
 * to announce: thousands of bytes to an address that may be forged, for one question. So who asks is pinged
 * first, at the cost of its answer, and comes in when it answers.
 */
function keepStrangersOut(dht: DHT, socket: GuardedSocket): void {
  const { _rpc: rpc } = dht
  const { _addNode: unchecked } = rpc
  const addNode = unchecked.bind(rpc)
  const addKnownNode = (node: DhtNode): void => {
    if (socket.isKnown(node)) addNode(node)
  }
  Object.assign(rpc, { _addNode: addKnownNode })
  socket.on('stranger', ({ host, port }) => dht.addNode({ host, port }))
}
