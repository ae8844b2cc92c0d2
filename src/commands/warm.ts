import type { WarmResult } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command } from './command.ts'
import { runningNode, withProgress } from './node-access.ts'
import { concludeInPart } from './partial-outcome.ts'
import { renderTable } from './table.ts'

const MAX_PARALLEL = 1000

/** Brings images to every node before they are needed. */
export const warm: Command = async (invocation) => {
  const { operands, flags, output } = invocation
  const nodes = namesOf(flags['nodes'])
  const request = {
    references: operands,
    ...(nodes && { nodes }),
    load: flags['load'] === true,
    parallel: parseParallel(flags['parallel']),
  }
  const result = await withProgress(invocation, runningNode(invocation).warm, request)
  output.answer(result, () => render(result))
  const failed = result.nodes.filter(({ state }) => state === 'failed')
  return concludeInPart(output, {
    what: 'node',
    total: result.nodes.length,
    failures: failed.map(({ nodeName, error }) => ({ name: nodeName, error })),
  })
}

function render({ nodes }: WarmResult): string {
  if (nodes.length === 0) return 'no node was found'
  return renderTable(
    [
      { title: 'node' },
      { title: 'address' },
      { title: 'state' },
      { title: 'size', align: 'right' },
      { title: 'peers', align: 'right' },
      { title: 'upstream', align: 'right' },
      { title: 'store', align: 'right' },
      { title: 'time', align: 'right' },
      { title: 'loaded' },
    ],
    nodes.map(({ nodeName, address, state, size, bytes, ms, loaded }) => [
      nodeName,
      address,
      state,
      formatByteSize(size),
      formatByteSize(bytes.peers),
      formatByteSize(bytes.upstream),
      formatByteSize(bytes.store),
      formatDurationMs(ms),
      loaded ? 'yes' : 'no',
    ]),
  )
}

function namesOf(value: unknown): string[] | undefined {
  if (typeof value !== 'string') return undefined
  const names = value.split(',').map((name) => name.trim())
  const given = [...new Set(names.filter((name) => name !== ''))]
  if (given.length === 0)
    throw new OperationError('USAGE', '--nodes: wanted names such as a,b, found none')
  return given
}

function parseParallel(value: unknown): number {
  const text = String(value)
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > MAX_PARALLEL) {
    throw new OperationError(
      'USAGE',
      `--parallel: wanted a whole number from 1 to ${MAX_PARALLEL}, found "${text}"`,
    )
  }
  return count
}
