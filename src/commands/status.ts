import type {
  EngineStatus,
  FailureStatus,
  NodeStatus,
  PublishedStatus,
  TransferStatus,
} from '../status/node-status.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command } from './command.ts'
import { runningNode, withoutProgress } from './node-access.ts'
import { fetchJson } from './node-http.ts'
import { printable, renderTable } from './table.ts'
import { count, percent, shortDigest, sourceShares } from './wording.ts'

const MAX_FAILURES = 5

/** Shows the node, what moves, and what failed last. */
export const status: Command = async (invocation) => {
  const { output, signal } = invocation
  const node = (await withoutProgress(invocation, runningNode(invocation).status, {})) as NodeStatus
  const { transfers } = (await fetchJson(node.registry, '/api/v1/transfers', signal)) as {
    transfers: readonly TransferStatus[]
  }
  const moving = transfers.filter(({ state }) => state === 'moving' || state === 'waiting')
  output.answer({ ...node, transfers: moving }, () =>
    [
      renderNode(node),
      ...(moving.length > 0 ? [renderTransfers(moving)] : []),
      ...(node.lastFailures.length > 0 ? [renderFailures(node.lastFailures)] : []),
    ].join('\n\n'),
  )
  return 0
}

function renderNode(node: NodeStatus): string {
  const { blobs, images, peers, dhtNodes, moving } = node
  const lines: [string, string][] = [
    ['node', `${node.nodeName}  ${node.nodeId.slice(0, 12)}`],
    [
      'version',
      `${node.version}, up ${formatDurationMs(node.uptimeMs)}, ${formatByteSize(node.memoryBytes)} of memory`,
    ],
    ['swarm', `${node.swarmId} (${node.swarm})`],
    ['registry', `${node.registry}  (status page http://${node.registry}/)`],
    ['peer port', String(node.peerPort)],
    ['engine', describeEngine(node.engine)],
    [
      'holds',
      `${count(images, 'image')}, ${count(blobs.count, 'blob')}, ${formatByteSize(blobs.bytes)}`,
    ],
    ['peers', `${count(peers, 'node')} in contact, ${count(dhtNodes, 'node')} in the DHT`],
    ['moving', count(moving, 'blob')],
    ...(node.published ? [describePublished(node.published)] : []),
    ...node.bannedPeers.map(({ nodeName, reason }): [string, string] => [
      'banned',
      `${nodeName}${reason ? `: ${reason}` : ''}`,
    ]),
  ]
  return lines.map(([name, text]) => `${name.padEnd(11)}${printable(text)}`).join('\n')
}

function describePublished(published: PublishedStatus): [string, string] {
  const { images, port, problem, nodeName, dhtNodes } = published
  const shared = `${count(images, 'image')} for everybody`
  return port === undefined
    ? ['public', `${shared}, but not reachable: ${problem ?? 'the port is not open'}`]
    : [
        'public',
        `${shared}, as ${nodeName ?? 'nobody'} on port ${port}, ${count(dhtNodes, 'node')} in its DHT`,
      ]
}

function describeEngine(engine: EngineStatus | null): string {
  if (!engine) return 'none'
  return `${engine.version}, ${engine.store} store (${engine.driver})  ${engine.host}`
}

function renderTransfers(transfers: readonly TransferStatus[]): string {
  return renderTable(
    [
      { title: 'blob' },
      { title: 'size', align: 'right' },
      { title: 'done', align: 'right' },
      { title: 'time', align: 'right' },
      { title: 'from' },
      { title: 'peers', align: 'right' },
    ],
    transfers.map(({ digest, size, bytes, ms, peers }) => [
      shortDigest(digest),
      formatByteSize(size),
      percent(Math.min(size, bytes.store + bytes.peers + bytes.upstream), size),
      formatDurationMs(ms),
      sourceShares(bytes),
      String(peers.length),
    ]),
  )
}

function renderFailures(failures: readonly FailureStatus[]): string {
  const lines = failures.slice(0, MAX_FAILURES).map(({ atMs, code, message, hint }) => {
    const ago = formatDurationMs(Math.max(0, Date.now() - atMs))
    return `  ${ago} ago  ${code}: ${printable(message)}\n    hint: ${printable(hint)}`
  })
  return ['last failures', ...lines].join('\n')
}
