import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { join } from 'node:path'

import { OperationError } from '../errors.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { readKeyLine, writeKeyLine } from './key-line-file.ts'
import {
  isInLine,
  keyStateAt,
  lastOrder,
  newKeyLine,
  revokedIn,
  withOrders,
  type KeyLine,
} from './key-line.ts'
import { MAX_REVOKED, nextGeneration, signKeyOrder, type KeyOrder } from './key-order.ts'
import { MemberBook } from './member-book.ts'
import type { NodeIdentity } from './node-identity.ts'
import {
  makeSwarmKey,
  openSwarmKey,
  readSwarmKey,
  swarmIdOf,
  swarmKeyPath,
  writeSwarmKey,
  type SwarmKey,
} from './swarm-key.ts'
import { SwarmKeys } from './swarm-keys.ts'

export interface KeyKeeperOptions {
  readonly dataDir: string
  /** a key file that others look after: it is read, and never written */
  readonly keyFile?: string | undefined
  readonly identity: NodeIdentity
  readonly log?: Log
  /** how long after it is told of a key this node begins to send with it */
  readonly settleMs?: number
  readonly now?: () => number
}

/** Where a node whose key file is looked after by others leaves the key that follows the one in it. */
export function successorPath(dataDir: string): string {
  return join(dataDir, 'keys', 'successor.key')
}

// Handing an order to all members of a large swarm takes less.
const SETTLE_MS = 5000
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Decides which keys count at this node: from the orders it was told of, which are on disk before they count, and the
 * clock. A new key is accepted at once and sent with a moment later; the old ones end when their order says so.
 */
export class KeyKeeper extends EventEmitter<{ taken: [] }> implements AsyncDisposable {
  readonly keys: SwarmKeys
  readonly book: MemberBook
  readonly #options: Required<Omit<KeyKeeperOptions, 'keyFile'>> & Pick<KeyKeeperOptions, 'keyFile'>
  #line: KeyLine
  #turn: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  private constructor(
    options: KeyKeeperOptions,
    { line, book }: { line: KeyLine; book: MemberBook },
  ) {
    super()
    this.#options = { log: silentLog, settleMs: SETTLE_MS, now: Date.now, ...options }
    this.#line = line
    this.book = book
    this.keys = new SwarmKeys(line.base.key)
    this.#apply()
  }

  /**
   * Reads the key and what followed it. The folder `keys` must exist.
   * @throws OperationError SWARM_KEY_INVALID; the system's error
   */
  static async open(options: KeyKeeperOptions): Promise<KeyKeeper> {
    const { dataDir, keyFile, log = silentLog, now = Date.now } = options
    const key = keyFile === undefined ? await openSwarmKey(dataDir) : await readSwarmKey(keyFile)
    const known = await readKeyLine(dataDir, now())
    // Another key is there than any that this line knows: the node has joined another swarm.
    const line = known && isInLine(known, key) ? known : newKeyLine(key)
    const book = await MemberBook.open(dataDir)
    const keeper = new KeyKeeper(options, { line, book })
    if (!keeper.keys.newest.equals(key)) await keeper.#followUp(key, { keyFile, log })
    return keeper
  }

  get ownId(): string {
    return this.#options.identity.nodeId
  }

  /** All that is handed to members who do not know it. */
  get orders(): readonly KeyOrder[] {
    return this.#line.orders
  }

  /** A name for what this node knows of keys, 16 hex digits: who has the same one need not be told. */
  get mark(): string {
    const known = [lastOrder(this.#line)?.signature ?? '', ...[...this.keys.revoked].toSorted()]
    return createHash('sha256').update(JSON.stringify(known)).digest('hex').slice(0, 16)
  }

  /**
   * Gives this swarm another key. It is on disk when this returns, and members may be told.
   * @param order.revoked node ids that are shut out from now on, beside those that are already
   * @throws OperationError SWARM_KEY_INVALID: too many are shut out; the system's error
   */
  async issue({
    revoked = [],
    overlapMs,
  }: {
    revoked?: readonly string[]
    overlapMs: number
  }): Promise<KeyOrder> {
    return this.#inTurn(async () => {
      const order = this.#makeOrder([...new Set([...this.keys.revoked, ...revoked])], overlapMs)
      await this.#take([order])
      return order
    })
  }

  /** Takes the orders of others, as far as they are new and count. @returns whether something has changed */
  async merge(heard: readonly KeyOrder[]): Promise<boolean> {
    return this.#inTurn(async () => {
      const isNew = await this.#take(heard)
      if (isNew) await this.#mend()
      return isNew
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#turn
    await this.book.written()
  }

  /** Where the newest key is put for whoever looks after keys: in place of the node's own, or beside it. */
  get #keyPath(): string {
    const { dataDir, keyFile } = this.#options
    return keyFile === undefined ? swarmKeyPath(dataDir) : successorPath(dataDir)
  }

  #makeOrder(revoked: readonly string[], overlapMs: number): KeyOrder {
    if (revoked.length > MAX_REVOKED) {
      throw new OperationError(
        'SWARM_KEY_INVALID',
        `order of a new swarm key: wanted at most ${MAX_REVOKED} nodes that are shut out, found ${revoked.length}`,
      )
    }
    const last = lastOrder(this.#line)
    const generation = nextGeneration(last?.generation ?? 0, this.#options.now())
    const from = swarmIdOf(this.keys.newest)
    return signKeyOrder(
      { generation, from, key: makeSwarmKey(), revoked, overlapMs },
      this.#options.identity,
    )
  }

  async #take(orders: readonly KeyOrder[]): Promise<boolean> {
    const { dataDir, identity, now, log } = this.#options
    const line = withOrders(this.#line, orders, { ownId: identity.nodeId, nowMs: now() })
    if (line === this.#line) return false
    await writeKeyLine(dataDir, line)
    const before = this.keys.newest
    this.#line = line
    this.#apply()
    const { newest } = this.keys
    log.info(
      { swarmId: swarmIdOf(newest), revoked: this.keys.revoked.size },
      'the swarm key changes',
    )
    // What is in the line counts: where this fails, the next start does it.
    if (!newest.equals(before)) await writeSwarmKey(this.#keyPath, newest)
    this.emit('taken')
    return true
  }

  /**
   * This node gave the key that counts, and did not know then that somebody was shut out: he may have been handed that
   * key. Whoever gave it gives another.
   */
  async #mend(): Promise<void> {
    const last = lastOrder(this.#line)
    if (last?.issuer !== this.#options.identity.nodeId) return
    const revoked = revokedIn(this.#line)
    if (revoked.every((nodeId) => last.revoked.includes(nodeId))) return
    await this.#take([this.#makeOrder(revoked, 0)])
  }

  #apply(): void {
    const nowMs = this.#options.now()
    const state = keyStateAt(this.#line, { nowMs, settleMs: this.#options.settleMs })
    this.keys.set({ ...state, metAtMs: this.book.metAtMs })
    clearTimeout(this.#timer)
    if (this.#isClosed || state.nextChangeAtMs === Infinity) return
    const waitMs = Math.min(state.nextChangeAtMs - nowMs, MAX_TIMER_MS)
    this.#timer = setTimeout(() => this.#apply(), waitMs).unref()
  }

  async #followUp(
    key: SwarmKey,
    { keyFile, log }: { keyFile: string | undefined; log: Log },
  ): Promise<void> {
    const { newest } = this.keys
    await writeSwarmKey(this.#keyPath, newest)
    if (keyFile === undefined) return
    log.warn(
      { keyFile, holds: swarmIdOf(key), swarmId: swarmIdOf(newest), newKeyFile: this.#keyPath },
      'the key in the swarm key file is an old one: the swarm has changed it, put the new one there',
    )
  }

  #inTurn<Value>(step: () => Promise<Value>): Promise<Value> {
    const result = this.#turn.then(step)
    this.#turn = result.catch(() => undefined)
    return result
  }
}
