import { parseDuration } from '../config/option-values.ts'
import type { KeyChangeResult, ToldMember } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { MAX_OVERLAP_MS } from '../membership/key-order.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command, ExitCode, Invocation } from './command.ts'
import { withNodeOrOffline, withoutProgress } from './node-access.ts'
import { printable } from './table.ts'
import { count } from './wording.ts'

/** Gives the swarm another key; the one before is good for a while. */
export const swarmRotate: Command = async (invocation) => {
  const overlapMs = overlapOf(invocation.flags['overlap'])
  const result = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.swarmRotate, { overlapMs }),
  )
  return conclude(invocation, result, [
    `the swarm has a new key: ${result.previousSwarmId} is ${result.swarmId} now`,
    ...whoHasIt(result),
    `The key before is taken for ${formatDurationMs(result.overlapMs)} more; old invites end with it.`,
  ])
}

/** Gives the swarm another key, and keeps it from some of its members. */
export const swarmRevoke: Command = async (invocation) => {
  const nodes = invocation.operands
  const result = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.swarmRevoke, { nodes }),
  )
  const names = result.revoked.map(
    ({ nodeId, nodeName }) =>
      `${nodeId.slice(0, 16)}${nodeName ? ` (${printable(nodeName)})` : ''}`,
  )
  return conclude(invocation, result, [
    `shut out ${names.join(', ')}; the swarm has a new key: ${result.previousSwarmId} is ${result.swarmId} now`,
    ...whoHasIt(result),
    ...WHAT_STAYS,
  ])
}

const WHAT_STAYS = [
  'Who is shut out still holds what it had: every image, name and address that it saw, and the old key.',
  'With that key it cannot read connections that it recorded, only what was said on UDP before now.',
  'If it has met members under further identities, those pass for members that were off: look at',
  '`ddocker swarm members`, and shut out what you do not know. Invites from before are void.',
]

function whoHasIt({ reached, notReached }: KeyChangeResult): string[] {
  return [
    `${count(reached.length, 'member')} ${reached.length === 1 ? 'has' : 'have'} it${listOf(reached)}`,
    ...(notReached.length === 0
      ? []
      : [
          `${count(notReached.length, 'member')} could not be told, and will be when they are met${listOf(notReached)}`,
        ]),
  ]
}

function listOf(members: readonly ToldMember[]): string {
  if (members.length === 0) return ''
  return `: ${members.map(({ nodeName, nodeId }) => `${printable(nodeName)} (${nodeId.slice(0, 12)})`).join(', ')}`
}

function conclude(
  { output }: Invocation,
  result: KeyChangeResult,
  lines: readonly string[],
): ExitCode {
  output.answer(result, () => lines.join('\n'))
  return result.notReached.length === 0 ? 0 : 3
}

function overlapOf(text: unknown): number {
  const match = typeof text === 'string' && /^[1-9]\d{0,5}(s|m|h|d)$/.test(text)
  const overlapMs = match ? parseDuration(text) : 0
  if (overlapMs > 0 && overlapMs <= MAX_OVERLAP_MS) return overlapMs
  throw new OperationError(
    'USAGE',
    `--overlap: wanted a duration such as 10m, 24h or 7d, at most 30d, found "${String(text)}"`,
  )
}
