import type { HostFacts } from '../config/host-facts.ts'
import type { Flags } from '../config/load-config.ts'
import type { NodeModule } from './node-module.ts'
import type { Output } from './output.ts'

/** What every command is given: what was typed, and the world around it. */
export interface Invocation {
  /** positional arguments in order */
  readonly operands: readonly string[]
  /** by name, as `peerPort` for `--peer-port`; global ones included */
  readonly flags: Flags
  readonly output: Output
  /** fires with SIGINT and SIGTERM */
  readonly signal: AbortSignal
  readonly host: HostFacts
  /** the node's code, loaded only where a node is opened in this process */
  readonly loadNode: () => Promise<NodeModule>
}

/** 0 done, 1 failed, 3 done in part; usage (2) and interruption (130) are thrown. */
export type ExitCode = 0 | 1 | 3

/** Does what one verb says. Whatever else goes wrong is thrown as an OperationError. */
export type Command = (invocation: Invocation) => Promise<ExitCode>
