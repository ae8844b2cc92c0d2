import type { PullResult } from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command } from './command.ts'
import { runningNode, withProgress } from './node-access.ts'
import { printable } from './table.ts'
import { formatRate, shortDigest, sourceSizes } from './wording.ts'

/** Fetches an image through the swarm, and loads it into the engine unless told not to. */
export const pull: Command = async (invocation) => {
  const { operands, flags, output } = invocation
  const request = { reference: operands[0] ?? '', load: flags['load'] !== false }
  const result = await withProgress(invocation, runningNode(invocation).pull, request)
  output.answer(result, () => render(result))
  return 0
}

function render(result: PullResult): string {
  const { reference, digest, size, bytes, ms, loaded, engineReference } = result
  const rate = ms > 0 ? ` (${formatRate((size * 1000) / ms)})` : ''
  const from = sourceSizes(bytes)
  const lines = [
    `${printable(reference)}  ${shortDigest(digest)}  ${formatByteSize(size)} in ${formatDurationMs(ms)}${rate}`,
    ...(from === '' ? [] : [`from ${from}`]),
    loaded ? `loaded as ${printable(engineReference ?? reference)}` : 'kept in the node',
  ]
  return lines.join('\n')
}
