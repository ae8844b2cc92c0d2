import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import type { KnownPeer } from '../peering/peer-directory.ts'
import type { WarmReport } from '../peering/peer-messages.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { formatHostAndPort } from '../support/host-and-port.ts'
import { addressOf } from '../transfer/peer-finder.ts'

/** What a warm-up is to do. */
export interface WarmRequest {
  readonly references: readonly string[]
  /** names or ids of nodes; all that are found unless given */
  readonly nodes?: readonly string[]
  readonly load: boolean
  /** nodes at once */
  readonly parallel: number
}

/** How a node fared. */
export interface WarmedNode {
  readonly nodeName: string
  readonly nodeId: string
  readonly address: string
  readonly state: 'done' | 'failed'
  readonly size: number
  readonly bytes: WarmReport['bytes']
  readonly loaded: boolean
  readonly ms: number
  readonly error?: ReturnType<OperationError['toJSON']>
}

/** How a node fares meanwhile. */
export interface NodeReport {
  readonly type: 'node'
  readonly nodeName: string
  readonly nodeId: string
  readonly address: string
  readonly state: 'asked' | 'moving' | 'loading' | 'done' | 'failed'
  readonly size: number
  readonly done: number
  readonly bytes: WarmReport['bytes']
  readonly message?: string
}

/** A node of the swarm that may be asked; this one among them. */
export interface WarmTarget {
  readonly nodeName: string
  readonly nodeId: string
  readonly address: string
  /** the node itself does its share without a connection */
  warm(signal: AbortSignal): AsyncIterable<WarmReport>
}

const NO_BYTES = { store: 0, peers: 0, upstream: 0 }

/** Orders every target to pull, a few at once, and follows them to the end; a node that fails stops nobody. */
export async function runWarmJob(
  targets: readonly WarmTarget[],
  options: { parallel: number; signal: AbortSignal; report: (event: NodeReport) => void },
): Promise<WarmedNode[]> {
  return mapConcurrently(targets, options.parallel, (target) => warmNode(target, options))
}

/** A peer as a target. */
export function peerTarget(
  peer: KnownPeer,
  request: WarmRequest,
  client: PeerQuestions,
): WarmTarget {
  const { nodeId, nodeName, host, peerPort } = peer
  return {
    nodeId,
    nodeName,
    address: formatHostAndPort({ host, port: peerPort }),
    warm: (signal) =>
      client.warm(
        addressOf(peer),
        { nodeId, references: request.references, load: request.load, parallel: 3 },
        { signal },
      ),
  }
}

/**
 * The targets that were named, in that order; all where nobody was.
 * @returns names that no target has, as well
 */
export function selectTargets(
  targets: readonly WarmTarget[],
  names: readonly string[] | undefined,
): { selected: WarmTarget[]; missing: string[] } {
  if (!names) return { selected: [...targets], missing: [] }
  const selected: WarmTarget[] = []
  const missing: string[] = []
  for (const name of names) {
    const target = targets.find(({ nodeName, nodeId }) => nodeName === name || nodeId === name)
    if (target) selected.push(target)
    else missing.push(name)
  }
  return { selected, missing }
}

/** A node that was named but not found. */
export function missingNode(name: string): WarmedNode {
  const error = new OperationError(
    'NODE_UNREACHABLE',
    `node "${name}": wanted a member of the swarm, found none of that name`,
  )
  return { ...nobody(name), error: error.toJSON() }
}

async function warmNode(
  target: WarmTarget,
  { signal, report }: { signal: AbortSignal; report: (event: NodeReport) => void },
): Promise<WarmedNode> {
  const { nodeName, nodeId, address } = target
  const startedAtMs = Date.now()
  let last: WarmReport = { state: 'moving', size: 0, done: 0, bytes: NO_BYTES, loaded: false }
  report({ type: 'node', nodeName, nodeId, address, ...last, state: 'asked' })
  let failure: OperationError | undefined
  try {
    for await (const step of target.warm(signal)) {
      last = step
      report({ type: 'node', nodeName, nodeId, address, ...step })
    }
    if (last.state !== 'done')
      failure = failed(target, last.message ?? 'it stopped before it was done')
  } catch (error) {
    signal.throwIfAborted()
    failure = isOperationError(error) ? error : failed(target, messageOf(error))
    report({
      type: 'node',
      nodeName,
      nodeId,
      address,
      ...last,
      state: 'failed',
      message: failure.message,
    })
  }
  const { size, bytes, loaded } = last
  const ms = Date.now() - startedAtMs
  const state = failure ? 'failed' : 'done'
  return {
    nodeName,
    nodeId,
    address,
    state,
    size,
    bytes,
    loaded,
    ms,
    ...(failure && { error: failure.toJSON() }),
  }
}

function failed({ nodeName }: WarmTarget, why: string): OperationError {
  return new OperationError('NODE_UNREACHABLE', `node "${nodeName}": ${why}`)
}

function nobody(nodeName: string): WarmedNode {
  return {
    nodeName,
    nodeId: '',
    address: '',
    state: 'failed',
    size: 0,
    bytes: NO_BYTES,
    loaded: false,
    ms: 0,
  }
}
