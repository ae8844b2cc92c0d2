import type { NodeStatus, PeerStatus } from '../status/node-status.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command } from './command.ts'
import { runningNode, withoutProgress } from './node-access.ts'
import { renderTable } from './table.ts'

/** A node of the swarm, this one among them. */
interface Member {
  readonly nodeId: string
  readonly nodeName: string
  /** host:port; undefined for this node, which others see under several */
  readonly address?: string
  readonly version: string
  readonly holds?: { readonly blobs: number; readonly bytes: number }
  readonly seenAtMs: number
  readonly state: 'this node' | PeerStatus['state']
}

/** Shows who is in the swarm, as far as this node knows. */
export const members: Command = async (invocation) => {
  const { status, peers } = runningNode(invocation)
  const [self, others] = await Promise.all([
    withoutProgress(invocation, status, {}) as Promise<NodeStatus>,
    withoutProgress(invocation, peers, {}),
  ])
  const all = [memberOf(self), ...(others.peers as readonly PeerStatus[]).map(withoutTraffic)]
  invocation.output.answer({ swarmId: self.swarmId, members: all }, () => render(all))
  return 0
}

function memberOf({ nodeId, nodeName, version, blobs }: NodeStatus): Member {
  const holds = { blobs: blobs.count, bytes: blobs.bytes }
  return { nodeId, nodeName, version, holds, seenAtMs: Date.now(), state: 'this node' }
}

function withoutTraffic(peer: PeerStatus): Member {
  const { nodeId, nodeName, address, version, holds, seenAtMs, state } = peer
  return { nodeId, nodeName, address, version, ...(holds && { holds }), seenAtMs, state }
}

function render(all: readonly Member[]): string {
  return renderTable(
    [
      { title: 'node' },
      { title: 'id' },
      { title: 'address' },
      { title: 'version' },
      { title: 'holds', align: 'right' },
      { title: 'seen', align: 'right' },
      { title: 'state' },
    ],
    all.map(({ nodeName, nodeId, address = '', version, holds, seenAtMs, state }) => [
      nodeName,
      nodeId.slice(0, 12),
      address,
      version,
      holds ? `${formatByteSize(holds.bytes)} in ${holds.blobs}` : '',
      state === 'this node' ? '' : `${formatDurationMs(Math.max(0, Date.now() - seenAtMs))} ago`,
      state,
    ]),
  )
}
