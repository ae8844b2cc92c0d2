import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { isOperationError, systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import type { KeyLine, TakenOrder } from './key-line.ts'
import { formatKeyOrders, MAX_KEY_ORDERS, parseKeyOrder } from './key-order.ts'
import type { SwarmKey } from './swarm-key.ts'

const MAX_FILE_CHARS = 1024 * 1024

/** Where a node keeps what it was told of new keys; the keys are in it, too. */
export function keyLinePath(dataDir: string): string {
  return join(dataDir, 'keys', 'changes.json')
}

/** What is kept; undefined where there is nothing, or nothing that can be read. @throws the system's error */
export async function readKeyLine(dataDir: string, nowMs: number): Promise<KeyLine | undefined> {
  try {
    const text = await readFile(keyLinePath(dataDir), 'utf8')
    return text.length > MAX_FILE_CHARS ? undefined : parseKeyLine(JSON.parse(text), nowMs)
  } catch (error) {
    const isUnreadable = error instanceof SyntaxError || isOperationError(error, 'RECORD_INVALID')
    if (isUnreadable || systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Keeps it, for the owner only. The folder `keys` must exist. */
export async function writeKeyLine(dataDir: string, { base, orders }: KeyLine): Promise<void> {
  const content = {
    base: { ...base, key: base.key.toString('hex') },
    ...formatKeyOrders(orders),
  }
  await writeFileAtomically(keyLinePath(dataDir), `${JSON.stringify(content)}\n`, { mode: 0o600 })
}

function parseKeyLine(value: unknown, nowMs: number): KeyLine | undefined {
  const { base, orders } = asRecord(value) ?? {}
  const { key, generation, revoked } = asRecord(base) ?? {}
  if (typeof key !== 'string' || !/^[0-9a-f]{64}$/.test(key) || !isTime(generation))
    return undefined
  if (!Array.isArray(revoked) || !revoked.every(isNodeId)) return undefined
  if (!Array.isArray(orders) || orders.length > MAX_KEY_ORDERS) return undefined
  return {
    base: { key: Buffer.from(key, 'hex') as SwarmKey, generation, revoked },
    orders: orders.map((order) => parseTaken(order, nowMs)),
  }
}

function parseTaken(value: unknown, nowMs: number): TakenOrder {
  const takenAtMs = asRecord(value)?.['takenAtMs']
  // The clock may have been set back since: it was checked when it was taken.
  const order = parseKeyOrder(value, Number.MAX_SAFE_INTEGER / 2)
  return { ...order, takenAtMs: isTime(takenAtMs) ? Math.min(takenAtMs, nowMs) : 0 }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isNodeId(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}
