import { Readable } from 'node:stream'

import type { PeerHandlers } from '../peering/peer-server.ts'
import type { NodeCalls } from './peer-side-protocol.ts'

/** The answers to peers' questions, which the node gives. */
export function handlersOver(node: NodeCalls): Omit<PeerHandlers, 'bitTorrent'> {
  return {
    hello: (caller, address) => node.call('hello', { caller, address }),
    have: (digests) => node.call('have', digests),
    references: (names, swarmKey) => node.call('references', { names, swarmKey }),
    metainfo: (digest, swarmKey) => node.call('metainfo', { digest, swarmKey }),
    blob: async (digest) => {
      const bytes = await node.call('blob', digest)
      return bytes && { size: bytes.length, content: Readable.from([bytes]) }
    },
    warm: (order, { signal }) => node.stream('warm', order, { signal }),
    keys: (question, nodeId) => node.call('keys', { question, nodeId }),
    join: (ticketId) => node.call('join', ticketId),
  }
}
