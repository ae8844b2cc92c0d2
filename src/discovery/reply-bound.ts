import bencode from 'bencode'
import type { DhtNode, DhtQuery, DhtReply, DhtRpc } from 'bittorrent-dht'

// Fits every path: no fragments, also inside of tunnels.
const MAX_REPLY_BYTES = 1200
// An address that has not answered us may be forged: it must not be worth asking us in its name. With the
// headers of the packets counted, less than twice.
const MAX_STRANGER_FACTOR = 2
const MAX_VALUES = 64
const VALUE_BYTES = 8
const NODE_BYTES = 26
// `6:valuesl…e`, and `5:nodes` with a length of up to three digits.
const VALUES_BYTES = 10
const NODES_BYTES = 11

/** Open swarm: bytes that the answer to a question may have. */
export function maxReplyBytes({ bytes, isKnown }: { bytes: number; isKnown: boolean }): number {
  return isKnown ? MAX_REPLY_BYTES : Math.min(MAX_REPLY_BYTES, bytes * MAX_STRANGER_FACTOR)
}

/** How many addresses and nodes fit into so many bytes; addresses go first. Pure. */
export function fitReply({
  roomBytes,
  valueCount,
  nodeCount,
}: {
  roomBytes: number
  valueCount: number
  nodeCount: number
}): { valueCount: number; nodeCount: number } {
  const values = clamp(valueCount, Math.min(MAX_VALUES, (roomBytes - VALUES_BYTES) / VALUE_BYTES))
  const left = roomBytes - (values === 0 ? 0 : VALUES_BYTES + values * VALUE_BYTES)
  return { valueCount: values, nodeCount: clamp(nodeCount, (left - NODES_BYTES) / NODE_BYTES) }
}

function clamp(count: number, max: number): number {
  return Math.max(0, Math.min(count, Math.floor(max)))
}

interface ReplyBounds {
  readonly maxNodes: number
  /** of the reply to the question in hand */
  readonly budgetBytes: () => number
  /** this node as a peer of the key, if it is one */
  readonly myselfAt: (key: string) => readonly Buffer[]
  readonly closestNodes: (key: Buffer) => readonly DhtNode[]
}

/**
 * Cuts every reply of the library to what fits: it gives all peers it knows and, for want of a count, the
 * whole routing table. Where it gives peers it gives no nodes, so that a lookup of what many hold ends
 * among the first who are asked: here it gets both.
 */
export function boundReplies(rpc: DhtRpc, bounds: ReplyBounds): void {
  const respond = rpc.response.bind(rpc)
  rpc.response = (to, query, reply, given = []) => {
    const key = askedKey(query)
    const myself = key ? bounds.myselfAt(key.toString('hex')) : []
    const values = [...myself, ...(reply.values ?? [])]
    const nodes = key && given.length === 0 ? bounds.closestNodes(key) : given
    const { valueCount, nodeCount } = fitReply({
      roomBytes: bounds.budgetBytes() - frameBytesOf(query, reply),
      valueCount: values.length,
      nodeCount: Math.min(bounds.maxNodes, nodes.length),
    })
    const bounded: DhtReply = { ...reply, values: values.slice(0, valueCount) }
    if (valueCount === 0) delete bounded.values
    respond(to, query, bounded, nodeCount === 0 ? undefined : nodes.slice(0, nodeCount))
  }
}

/** Everything in a reply but `nodes` and `values`. */
function frameBytesOf({ t }: DhtQuery, reply: DhtReply): number {
  const frame = { ...reply }
  delete frame.values
  return bencode.encode({ t, y: 'r', r: frame }).length
}

function askedKey({ q, a }: DhtQuery): Buffer | undefined {
  return q.toString() === 'get_peers' ? a.info_hash : undefined
}
