import type { Config } from '../config/options.ts'
import type { NodeOperations } from '../control/control-protocol.ts'
import type { Log } from '../telemetry/log.ts'

/** Where a node can be reached, and who it is; the line `ready {…}`. */
export interface ReadyNode {
  /** host:port */
  readonly registry: string
  readonly peerPort: number
  readonly nodeId: string
  readonly nodeName: string
  readonly swarmId: string
}

/** A node in this process; disposing of it drains it. */
export interface RunningNode extends AsyncDisposable {
  readonly ready: ReadyNode
  readonly operations: NodeOperations
}

/** What can be done with a data directory while no node runs with it. */
export interface OfflineNode extends AsyncDisposable {
  readonly operations: OfflineOperations
}

export type OfflineOperations = Pick<
  NodeOperations,
  'import' | 'torrent' | 'swarmId' | 'swarmInvite' | 'swarmRotate' | 'swarmRevoke'
>

/** The composition root, as commands see it. */
export interface NodeModule {
  readonly openNode: (
    config: Config,
    options: { log: Log; signal?: AbortSignal; isolatesPeers?: boolean },
  ) => Promise<RunningNode>
  readonly openOffline: (config: Config, options: { log: Log }) => Promise<OfflineNode>
}
