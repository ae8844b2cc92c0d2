import { createHash, createHmac, randomBytes } from 'node:crypto'
import { chmod, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { OperationError, systemCodeOf } from '../errors.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'

declare const swarmKeyBrand: unique symbol

/** 32 random bytes that make a node a member. Never logged, never sent. */
export type SwarmKey = Buffer & { readonly [swarmKeyBrand]: true }

const KEY_BYTES = 32
const FILE_PATTERN = /^[0-9a-f]{64}$/i

/** The key of the open swarm: known to everybody, so that one construction serves both. */
export const PUBLIC_SWARM_KEY = createHash('sha256')
  .update('ddocker public swarm, format 1')
  .digest() as SwarmKey

/** A key that nobody has. */
export function makeSwarmKey(): SwarmKey {
  return randomBytes(KEY_BYTES) as SwarmKey
}

/** Where a node keeps its key. */
export function swarmKeyPath(dataDir: string): string {
  return join(dataDir, 'keys', 'swarm.key')
}

/**
 * The key in a file of 64 hex digits.
 * @throws OperationError SWARM_KEY_INVALID
 */
export async function readSwarmKey(path: string): Promise<SwarmKey> {
  const text = (await readKeyFile(path)).trim()
  if (!FILE_PATTERN.test(text)) {
    throw new OperationError(
      'SWARM_KEY_INVALID',
      `${path}: wanted 64 hex digits, found ${text.length} characters`,
    )
  }
  return Buffer.from(text, 'hex') as SwarmKey
}

/** The key of this data directory, made at the first start (mode 0600). */
export async function openSwarmKey(dataDir: string): Promise<SwarmKey> {
  const path = swarmKeyPath(dataDir)
  try {
    return await readSwarmKey(path)
  } catch (error) {
    if (!(error instanceof OperationError && systemCodeOf(error.cause) === 'ENOENT')) throw error
  }
  const key = makeSwarmKey()
  await writeSwarmKey(path, key)
  return key
}

/** Puts `key` in place of the one there was. The folder must exist. */
export async function writeSwarmKey(path: string, key: SwarmKey): Promise<void> {
  await writeFileAtomically(path, `${key.toString('hex')}\n`, { mode: 0o600 })
  await chmod(path, 0o600)
}

/** A name for the swarm that tells nothing of its key: 16 hex digits. */
export function swarmIdOf(key: SwarmKey): string {
  return deriveKey(key, 'dd1/id\0').subarray(0, 8).toString('hex')
}

/** A key for one use, from the swarm key and a label. */
export function deriveKey(key: SwarmKey, label: string): Buffer {
  return createHmac('sha256', key).update(label).digest()
}

async function readKeyFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new OperationError(
      'SWARM_KEY_INVALID',
      `${path}: wanted a readable key file, found ${systemCodeOf(cause) ?? 'an error'}`,
      { cause },
    )
  }
}
