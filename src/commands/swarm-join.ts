import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'

import { loadConfig } from '../config/load-config.ts'
import type { Config } from '../config/options.ts'
import { connectNode } from '../control/control-client.ts'
import { isOperationError, OperationError, systemCodeOf } from '../errors.ts'
import { parseInvite, type Invite, type JoinTicket } from '../membership/invite.ts'
import { openNodeIdentity } from '../membership/node-identity.ts'
import {
  readSwarmKey,
  swarmIdOf,
  swarmKeyPath,
  writeSwarmKey,
  type SwarmKey,
} from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Command } from './command.ts'
import { withoutProgress } from './node-access.ts'

/**
 * Puts the key that an invite carries, or that the member behind it gives, in place of this node's own; the old one is
 * kept beside it.
 */
export const swarmJoin: Command = async (invocation) => {
  const { operands, flags, host, output } = invocation
  const invite = parseInvite(operands[0] ?? '')
  const config = await loadConfig(flags, host)
  const path = swarmKeyPath(config.dataDir)
  refuseOtherKeys(config, path)
  await makeKeyFolder(path)
  const key = await keyOf(invite, { dataDir: config.dataDir, signal: invocation.signal })
  const replaced = await keepOldKey(path, key)
  await writeKey(path, key)
  const swarmId = swarmIdOf(key)
  const running = await swarmOfRunningNode(config.dataDir, invocation.signal)
  const restartNeeded = running !== undefined && running !== swarmId
  output.answer({ swarmId, ...replaced, restartNeeded }, () =>
    [
      `joined swarm ${swarmId}`,
      ...(replaced.keptKey
        ? [`the key of swarm ${replaced.previousSwarmId} is kept in ${replaced.keptKey}`]
        : []),
      ...(restartNeeded ? ['the running node is still in its old swarm: restart it'] : []),
    ].join('\n'),
  )
  return 0
}

function refuseOtherKeys({ swarm, swarmKeyFile }: Config, path: string): void {
  if (swarm === 'public') {
    throw new OperationError(
      'CONFIG_INVALID',
      'swarm: wanted closed in order to join, found public',
    )
  }
  if (swarmKeyFile !== undefined && swarmKeyFile !== path) {
    throw new OperationError(
      'CONFIG_INVALID',
      `swarm-key-file: wanted none in order to join, found "${swarmKeyFile}"`,
    )
  }
}

interface ReplacedKey {
  readonly previousSwarmId?: string
  readonly keptKey?: string
}

/** A key that others were invited with would be lost for good. */
async function keepOldKey(path: string, next: SwarmKey): Promise<ReplacedKey> {
  try {
    const previous = await readSwarmKey(path)
    if (previous.equals(next)) return {}
    const previousSwarmId = swarmIdOf(previous)
    const keptKey = `${path}.${previousSwarmId}`
    await writeSwarmKey(keptKey, previous)
    return { previousSwarmId, keptKey }
  } catch (error) {
    // none yet, or one that nobody could use
    if (isOperationError(error, 'SWARM_KEY_INVALID')) return {}
    throw error
  }
}

async function makeKeyFolder(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw unwritable(path, cause)
  }
}

async function keyOf(
  invite: Invite,
  options: { dataDir: string; signal: AbortSignal },
): Promise<SwarmKey> {
  return invite.kind === 'key' ? invite.key : askForKey(invite.ticket, options)
}

/** Whoever let this node in is one whom it can find the others by. */
async function askForKey(
  ticket: JoinTicket,
  { dataDir, signal }: { dataDir: string; signal: AbortSignal },
): Promise<SwarmKey> {
  const { joinSwarm } = await import('../peering/join-swarm.ts')
  const identity = await openNodeIdentity(dataDir)
  const { swarmKey, host, port } = await joinSwarm({ ticket, identity }, { signal })
  const { SavedNodes } = await import('../discovery/saved-nodes.ts')
  const { peerSideFolder } = await import('../sandbox/peer-side-folder.ts')
  const stateDir = peerSideFolder(dataDir)
  const known = new SavedNodes({ stateDir, swarmKeys: new SwarmKeys(swarmKey) })
  await known.save([{ host, port }])
  return swarmKey
}

async function writeKey(path: string, key: SwarmKey): Promise<void> {
  try {
    await writeSwarmKey(path, key)
  } catch (cause) {
    throw unwritable(path, cause)
  }
}

function unwritable(path: string, cause: unknown): OperationError {
  return new OperationError(
    'DATA_DIR_UNUSABLE',
    `${path}: wanted to write the key, found ${systemCodeOf(cause) ?? 'an error'}`,
    { cause },
  )
}

/** @returns the swarm that a running node is in, `unknown` where it does not say; undefined where none runs */
async function swarmOfRunningNode(
  dataDir: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    return (await withoutProgress({ signal }, connectNode(dataDir).swarmId, {})).swarmId
  } catch (error) {
    signal.throwIfAborted()
    if (isOperationError(error, 'NODE_NOT_RUNNING')) return undefined
    return 'unknown'
  }
}
