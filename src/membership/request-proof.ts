import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

import { LRUCache } from 'lru-cache'

import { OperationError } from '../errors.ts'
import { deriveKey, type SwarmKey } from './swarm-key.ts'
import type { SwarmKeys } from './swarm-keys.ts'

/** A request between members: what the proof covers. */
export interface ProvenRequest {
  readonly method: string
  /** path and query */
  readonly path: string
  readonly body: Uint8Array
}

// A proof is good this long either way, so clocks may differ by as much.
const WINDOW_MS = 60_000
// More than a node takes in two windows; the oldest is forgotten first, and is then too old anyway. Counted as sizes:
// for `max` the cache would take room for all of them at once, 8 MB.
const MAX_NONCES = 200_000
const PATTERN = /^DD1 ([1-9]\d{0,14})\.([0-9a-f]{32})\.([0-9a-f]{64})$/

/** Proves that a member makes this request now: a MAC over time, nonce, method, path and body. */
export function proveRequest(
  request: ProvenRequest,
  key: SwarmKey,
  nowMs: number = Date.now(),
): string {
  const nonce = randomBytes(16).toString('hex')
  return `DD1 ${nowMs}.${nonce}.${macOf(request, { key, timeMs: nowMs, nonce }).toString('hex')}`
}

/** Takes each proof once: stateful, one per node. */
export class RequestVerifier {
  readonly #keys: SwarmKeys
  readonly #nonces = new LRUCache<string, true>({
    maxSize: MAX_NONCES,
    sizeCalculation: () => 1,
    ttl: 2 * WINDOW_MS,
  })

  constructor(keys: SwarmKeys) {
    this.#keys = keys
  }

  /** @throws OperationError REQUEST_UNPROVEN: no proof, not of this swarm, too old, or seen before */
  verify(request: ProvenRequest, proof: string | undefined, nowMs: number = Date.now()): void {
    const [, time = '', nonce = '', mac = ''] = PATTERN.exec(proof ?? '') ?? []
    if (nonce === '') throw unproven('it has no proof')
    const timeMs = Number(time)
    const found = Buffer.from(mac, 'hex')
    const isOfKey = (key: SwarmKey) =>
      timingSafeEqual(macOf(request, { key, timeMs, nonce }), found)
    if (!this.#keys.known.some(isOfKey)) throw unproven('its proof is not of this swarm')
    if (Math.abs(nowMs - timeMs) > WINDOW_MS) {
      throw unproven(`its clock is ${Math.round((timeMs - nowMs) / 1000)} s away`)
    }
    if (this.#nonces.has(nonce)) throw unproven('it was seen before')
    this.#nonces.set(nonce, true)
  }
}

function macOf(
  { method, path, body }: ProvenRequest,
  { key, timeMs, nonce }: { key: SwarmKey; timeMs: number; nonce: string },
): Buffer {
  const bodyHash = createHash('sha256').update(body).digest('hex')
  return createHmac('sha256', deriveKey(key, 'dd1/request\0'))
    .update(JSON.stringify([method, path, timeMs, nonce, bodyHash]))
    .digest()
}

function unproven(why: string): OperationError {
  return new OperationError('REQUEST_UNPROVEN', `request between nodes: ${why}`)
}
