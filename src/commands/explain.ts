import type { ExplainedBlob, ExplainResult } from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command } from './command.ts'
import { runningNode, withoutProgress } from './node-access.ts'
import { printable, renderTable } from './table.ts'
import { count, shortDigest, sourceSizes } from './wording.ts'

const WAITS: Readonly<Record<string, string>> = {
  peers: 'finding peers',
  upstream: 'upstream to answer',
  turn: 'lower layers',
  proof: 'proof and disk',
}
// Shorter waits explain nothing.
const MIN_SHOWN_MS = 20

/** Says of each blob of an image which byte came from where, and what was waited for. */
export const explain: Command = async (invocation) => {
  const { operands, output } = invocation
  const [reference = ''] = operands
  const result = await withoutProgress(invocation, runningNode(invocation).explain, { reference })
  output.answer(result, () => render(result))
  return 0
}

function render({ reference, digest, startedAtMs, blobs, bytes }: ExplainResult): string {
  const when =
    startedAtMs === undefined
      ? 'never pulled here'
      : `last pulled ${formatDurationMs(Math.max(0, Date.now() - startedAtMs))} ago`
  const lines = [
    `${printable(reference)}  ${shortDigest(digest)}`,
    `${when}; ${count(blobs.length, 'blob')}: ${sourceSizes(bytes) || 'nothing here'}`,
    '',
    renderTable(
      [
        { title: 'blob' },
        { title: 'role' },
        { title: 'size', align: 'right' },
        { title: 'from' },
        { title: 'first byte', align: 'right' },
        { title: 'time', align: 'right' },
        { title: 'waited for' },
      ],
      blobs.map((blob) => [
        shortDigest(blob.digest),
        blob.role,
        formatByteSize(blob.size),
        originOf(blob),
        blob.firstByteMs === null ? '' : formatDurationMs(blob.firstByteMs),
        blob.ms === null ? '' : formatDurationMs(blob.ms),
        waitsOf(blob),
      ]),
    ),
  ]
  return lines.join('\n')
}

function originOf({ state, bytes, peers, upstream, code }: ExplainedBlob): string {
  if (state === 'absent') return 'not here'
  if (state === 'kept') return 'was here'
  const parts = peers.map(
    ({ nodeName, peer, bytes: sent }) => `${nodeName ?? peer} ${formatByteSize(sent)}`,
  )
  if (bytes.upstream > 0) parts.push(`${upstream ?? 'upstream'} ${formatByteSize(bytes.upstream)}`)
  if (bytes.store > 0) parts.push(`was here ${formatByteSize(bytes.store)}`)
  if (state === 'failed') parts.push(`failed: ${code ?? 'unknown'}`)
  if (state === 'moving' || state === 'waiting') parts.push(`${state} now`)
  return parts.join(', ')
}

function waitsOf({ waits }: ExplainedBlob): string {
  return waits
    .filter(({ ms }) => ms >= MIN_SHOWN_MS)
    .map(({ what, ms }) => `${WAITS[what] ?? what} ${formatDurationMs(ms)}`)
    .join(', ')
}
