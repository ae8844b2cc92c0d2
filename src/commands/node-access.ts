import { loadConfig, resolveDataDir } from '../config/load-config.ts'
import { connectNode } from '../control/control-client.ts'
import type { NodeOperations, Operation, ProgressEvent } from '../control/control-protocol.ts'
import { isOperationError } from '../errors.ts'
import type { Invocation } from './command.ts'
import type { OfflineOperations } from './node-module.ts'
import { openProgress } from './progress.ts'

/** The operations of the running node that this command line means. */
export function runningNode({ flags, host }: Invocation): Required<NodeOperations> {
  return connectNode(resolveDataDir(flags, host))
}

/** Runs an operation with its progress shown, and leaves a clean screen behind. */
export async function withProgress<Request, Result>(
  { output, signal }: Invocation,
  operation: Operation<Request, Result>,
  request: Request,
): Promise<Result> {
  using progress = await openProgress(output)
  return await operation(request, { signal, report: (event) => progress.report(event) })
}

/** Runs an operation that has nothing to show on its way. */
export function withoutProgress<Request, Result>(
  { signal }: Pick<Invocation, 'signal'>,
  operation: Operation<Request, Result>,
  request: Request,
): Promise<Result> {
  return operation(request, { signal, report: (_event: ProgressEvent) => undefined })
}

/** Asks the running node, and where none runs, does the same with the data directory itself. */
export async function withNodeOrOffline<Result>(
  invocation: Invocation,
  use: (operations: OfflineOperations) => Promise<Result>,
): Promise<Result> {
  try {
    return await use(runningNode(invocation))
  } catch (error) {
    if (!isOperationError(error, 'NODE_NOT_RUNNING')) throw error
  }
  const { flags, host, loadNode } = invocation
  const config = await loadConfig(flags, host)
  const [{ openOffline }, { silentLog }] = await Promise.all([
    loadNode(),
    import('../telemetry/log.ts'),
  ])
  await using node = await openOffline(config, { log: silentLog })
  return await use(node.operations)
}
