import type { PeerStatus } from '../status/node-status.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command } from './command.ts'
import { runningNode, withoutProgress } from './node-access.ts'
import { renderTable } from './table.ts'

/** Shows who is there, and what went both ways. */
export const peers: Command = async (invocation) => {
  const result = await withoutProgress(invocation, runningNode(invocation).peers, {})
  invocation.output.answer(result, () => render(result.peers as readonly PeerStatus[]))
  return 0
}

function render(peers: readonly PeerStatus[]): string {
  return renderTable(
    [
      { title: 'node' },
      { title: 'address' },
      { title: 'version' },
      { title: 'from it', align: 'right' },
      { title: 'to it', align: 'right' },
      { title: 'seen', align: 'right' },
      { title: 'state' },
    ],
    peers.map(({ nodeName, address, version, bytes, seenAtMs, state, badPieces, reason }) => [
      nodeName,
      address,
      version,
      formatByteSize(bytes.from),
      formatByteSize(bytes.to),
      `${formatDurationMs(Math.max(0, Date.now() - seenAtMs))} ago`,
      [
        state,
        ...(badPieces > 0 ? [`${badPieces} bad pieces`] : []),
        ...(reason ? [reason] : []),
      ].join(', '),
    ]),
  )
}
