import type { DhtNode, DhtQuery, DhtReply, DhtRpc } from 'bittorrent-dht'

import { MAX_TRANSACTION_BYTES } from './krpc-shape.ts'

// Fits every path: no fragments, also inside of tunnels.
const MAX_REPLY_BYTES = 1200
// An address that has not answered us may be forged: it must not be worth asking us in its name.
const MAX_STRANGER_FACTOR = 4
const MAX_VALUES = 64
const VALUE_BYTES = 8
const NODE_BYTES = 26
// Everything in a get_peers reply but `nodes`, `values` and the transaction, with a 20-byte token.
const FRAME_BYTES = 92
const LIST_BYTES = 12

/** Bytes that the answer to a question may have, without a MAC. */
export function maxReplyBytes({ bytes, isKnown }: { bytes: number; isKnown: boolean }): number {
  return isKnown ? MAX_REPLY_BYTES : Math.min(MAX_REPLY_BYTES, bytes * MAX_STRANGER_FACTOR)
}

/** How many addresses and nodes fit into a reply of `budgetBytes`; addresses go first. Pure. */
export function fitReply({
  budgetBytes,
  valueCount,
  nodeCount,
}: {
  budgetBytes: number
  valueCount: number
  nodeCount: number
}): { valueCount: number; nodeCount: number } {
  const room = Math.max(0, budgetBytes - FRAME_BYTES - MAX_TRANSACTION_BYTES)
  const values = clamp(valueCount, Math.min(MAX_VALUES, (room - LIST_BYTES) / VALUE_BYTES))
  const left = room - (values === 0 ? 0 : LIST_BYTES + values * VALUE_BYTES)
  return { valueCount: values, nodeCount: clamp(nodeCount, (left - LIST_BYTES) / NODE_BYTES) }
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
      budgetBytes: bounds.budgetBytes(),
      valueCount: values.length,
      nodeCount: Math.min(bounds.maxNodes, nodes.length),
    })
    const bounded: DhtReply = { ...reply, values: values.slice(0, valueCount) }
    if (valueCount === 0) delete bounded.values
    respond(to, query, bounded, nodeCount === 0 ? undefined : nodes.slice(0, nodeCount))
  }
}

function askedKey({ q, a }: DhtQuery): Buffer | undefined {
  return q.toString() === 'get_peers' ? a.info_hash : undefined
}
