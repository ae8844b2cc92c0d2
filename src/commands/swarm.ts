import type { Command } from './command.ts'
import { withNodeOrOffline, withoutProgress } from './node-access.ts'

/** Prints the name of the swarm. */
export const swarmId: Command = async (invocation) => {
  const result = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.swarmId, {}),
  )
  invocation.output.answer(result, () => result.swarmId)
  return 0
}

/** Prints the line that lets others join: exactly that on stdout. */
export const swarmInvite: Command = async (invocation) => {
  const result = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.swarmInvite, {}),
  )
  invocation.output.answer(result, () => result.invite)
  return 0
}
