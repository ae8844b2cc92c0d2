/** Whether an engine comes to the node first: what its files say, then a real question through it. */
import { OperationError } from '../errors.ts'
import type { ConfigFolders, DockerFacts, EngineName } from './engine-plan.ts'
import type { HostTree } from './host-tree.ts'
import type { RunProgram } from './run-program.ts'

/** How an engine stands to the node. */
export interface EngineState {
  readonly engine: EngineName
  /**
   * `hit`: a question through the engine came to the node; `missed`: it would not, or did not; `unproven`: the files
   * are right, and the engine could not be asked; `absent`: nothing was installed
   */
  readonly state: 'hit' | 'missed' | 'unproven' | 'absent'
  /** what was found */
  readonly message: string
  /** what to do, a sentence */
  readonly hint?: string
  /** what a hit does not cover */
  readonly remarks: readonly string[]
}

/** All that checks look at. */
export interface CheckContext {
  readonly tree: HostTree
  readonly folders: ConfigFolders
  /** where the node is: `127.0.0.1:5151` */
  readonly address: string
  /** where the files of an engine were made to lead; none: nothing was installed */
  readonly installedAddresses: ReadonlyMap<EngineName, string>
  readonly isNodeRunning: boolean
  /** absent where no Docker answers */
  readonly docker?: { readonly facts: DockerFacts; readonly socketPath: string }
  readonly hostsFolders?: readonly string[]
  readonly run: RunProgram
  /** whether the programs of this host read this tree */
  readonly canRunPrograms: boolean
  /** whether the node has seen a probe */
  readonly wasSeen: (tag: string) => Promise<boolean>
  readonly signal: AbortSignal
}

export const INSTALL_AGAIN = 'Run `ddocker mirror install`.'

/** A finding of the files that makes a question needless. */
export function state(
  engine: EngineName,
  found: EngineState['state'],
  message: string,
  more: { hint?: string; remarks?: readonly string[] } = {},
): EngineState {
  return { engine, state: found, message, remarks: [], ...more }
}

/** What all engines have in common: nothing installed, another address, no node. */
export function commonObstacle(
  engine: EngineName,
  { installedAddresses, address, isNodeRunning }: CheckContext,
): EngineState | undefined {
  const installedAddress = installedAddresses.get(engine)
  if (installedAddress !== undefined && installedAddress !== address) {
    const message = `its files lead to ${installedAddress}, the node is at ${address}`
    return state(engine, 'missed', message, { hint: INSTALL_AGAIN })
  }
  if (!isNodeRunning) {
    const { hint } = new OperationError('NODE_NOT_RUNNING', '')
    return state(engine, 'missed', 'the node does not run', { hint })
  }
  return undefined
}

/** The last line of what an engine said, short enough for a table. */
export function lastWords(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? ''
  return line.replace(/^(?:ctr|Error): /, '').slice(0, 300)
}
