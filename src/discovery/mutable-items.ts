/**
 * Mutable items of a DHT (BEP 44), over bittorrent-dht: its own `get` tells nothing before the last node has
 * answered or is given up, keeps one item where several may have been written at once, and its `put` does
 * not say who refused. Here every answer counts as it comes, and each node is written to with its own `cas`.
 */
import { createPublicKey, verify, type KeyObject } from 'node:crypto'

import type { DhtAnswer, DhtRpc } from 'bittorrent-dht'

import { abortable } from '../support/deadline.ts'
import type { ItemPlace } from './meeting-place.ts'

/** What a node keeps at a place, with a signature that is right. */
export interface StoredItem {
  readonly value: Buffer
  readonly seq: number
}

/** A node near the place that may be written to. */
export interface ItemHolder {
  readonly id: Buffer
  readonly host: string
  readonly port: number
  readonly token: Buffer
  /** of the item that it keeps there */
  readonly seq?: number
}

interface ReadOptions {
  readonly signal: AbortSignal
  /** a copy was found: the first time, and whenever it differs from those before */
  readonly onItem: (item: StoredItem) => void
}

interface WriteOptions {
  readonly signal: AbortSignal
  readonly sign: (bytes: Buffer) => Buffer
}

/** What became of a write: nodes that took it, and nodes where something newer was written meanwhile. */
export interface WriteResult {
  readonly stored: number
  readonly conflicts: number
}

type PutResult = 'stored' | 'conflict' | 'refused'

/** The part of a DHT that the meeting needs. */
export interface MutableItems {
  /**
   * Asks around the place until the nearest nodes have answered, or `signal` fires.
   * @returns those that may be written to, the nearest first; empty where nobody answers
   */
  read(place: ItemPlace, options: ReadOptions): Promise<ItemHolder[]>
  /** Writes to the eight nearest of `holders` that take it. Ends early, without an error, when `signal` fires. */
  write(
    place: ItemPlace,
    item: StoredItem & { readonly holders: readonly ItemHolder[] },
    options: WriteOptions,
  ): Promise<WriteResult>
}

interface DhtItemsOptions {
  readonly rpc: DhtRpc
  /** resolves when there is somebody to ask, or nobody to wait for */
  readonly ready: () => Promise<void>
  /** an answer has come. @param said its field `ip` (BEP 42), whatever it is */
  readonly onSeenAs: (voterHost: string, said: unknown) => void
}

// BEP 44: the 8 closest
const MAX_COPIES = 8
// Strangers can name nodes without end, each nearer than the last.
const MAX_ANSWERS = 200
// SubjectPublicKeyInfo of Ed25519 (RFC 8410, section 4)
const PUBLIC_KEY_HEAD = Buffer.from('302a300506032b6570032100', 'hex')
// BEP 44: `cas` does not match, `seq` is not higher
const CONFLICT_CODES: readonly unknown[] = [301, 302]

/** Items of the DHT that `rpc` is part of. */
export class DhtItems implements MutableItems {
  readonly #options: DhtItemsOptions

  constructor(options: DhtItemsOptions) {
    this.#options = options
  }

  async read(place: ItemPlace, { signal, onItem }: ReadOptions): Promise<ItemHolder[]> {
    const { rpc, ready, onSeenAs } = this.#options
    const { target } = place
    const copies = new VerifiedCopies(place, onItem)
    const holders = new Map<string, ItemHolder>()
    let answerCount = 0
    const visit = (
      answer: DhtAnswer,
      { address: host, port }: { address: string; port: number },
    ) => {
      if (signal.aborted) return false
      onSeenAs(host, answer.ip)
      const { id, token } = answer.r
      const seq = copies.take(answer)
      const holder = token && { id, host, port, token, ...(seq === undefined ? {} : { seq }) }
      if (holder) holders.set(`${host}:${port}`, holder)
      answerCount += 1
      return answerCount < MAX_ANSWERS
    }
    const ask = async (q: 'get' | 'find_node') => {
      const { promise, resolve } = Promise.withResolvers<void>()
      rpc.closest(target, { q, a: { id: rpc.id, target } }, visit, () => resolve())
      await promise
    }
    const lookUp = async () => {
      await ready()
      await ask('get')
      // Who has the item need not name other nodes: who starts from such a one has met nobody else yet.
      if (holders.size >= MAX_COPIES) return
      await ask('find_node')
      await ask('get')
    }
    await abortable(lookUp(), signal).catch(ignoreOnly(signal))
    return [...holders.values()].toSorted((a, b) => compareDistance(a.id, b.id, target))
  }

  async write(
    { publicKey, salt }: ItemPlace,
    { value, seq, holders }: StoredItem & { readonly holders: readonly ItemHolder[] },
    { signal, sign }: WriteOptions,
  ): Promise<WriteResult> {
    const sig = sign(signedBytes({ salt, seq, value }))
    const item = { k: publicKey, salt, seq, sig, v: value }
    const nearest = holders.values()
    const writing = Array.from({ length: MAX_COPIES }, () =>
      this.#putOne(nearest, { item, signal }),
    )
    const results = await abortable(Promise.all(writing), signal).catch(ignoreOnly(signal))
    return {
      stored: results?.filter((result) => result === 'stored').length ?? 0,
      conflicts: results?.filter((result) => result === 'conflict').length ?? 0,
    }
  }

  /** One copy, to the next node that takes it: some keep no items, as this one. */
  async #putOne(
    holders: Iterable<ItemHolder>,
    { item, signal }: { item: Record<string, Buffer | number>; signal: AbortSignal },
  ): Promise<PutResult> {
    for (const holder of holders) {
      const result = await this.#put(holder, item)
      if (result !== 'refused' || signal.aborted) return result
    }
    return 'refused'
  }

  async #put(
    { host, port, token, seq }: ItemHolder,
    item: Record<string, Buffer | number>,
  ): Promise<PutResult> {
    const { rpc } = this.#options
    const a = { ...item, id: rpc.id, token, ...(seq === undefined ? {} : { cas: seq }) }
    const { promise, resolve } = Promise.withResolvers<PutResult>()
    rpc.query({ host, port }, { q: 'put', a }, (error) => {
      if (!error) resolve('stored')
      else resolve(CONFLICT_CODES.includes(error.code) ? 'conflict' : 'refused')
    })
    return await promise
  }
}

/** BEP 44: what the signature of a mutable item covers. */
export function signedBytes({ salt, seq, value }: StoredItem & { salt: Buffer }): Buffer {
  return Buffer.concat([
    Buffer.from(`4:salt${salt.length}:`),
    salt,
    Buffer.from(`3:seqi${seq}e1:v${value.length}:`),
    value,
  ])
}

/** Each copy is proven once, however many nodes have it. */
class VerifiedCopies {
  readonly #place: ItemPlace
  readonly #onItem: (item: StoredItem) => void
  readonly #key: KeyObject
  readonly #seen = new Map<string, boolean>()

  constructor(place: ItemPlace, onItem: (item: StoredItem) => void) {
    const der = Buffer.concat([PUBLIC_KEY_HEAD, place.publicKey])
    this.#key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    this.#place = place
    this.#onItem = onItem
  }

  /** @returns the `seq` of an answer that has the item */
  take({ r: { k, sig, seq, v: value } }: DhtAnswer): number | undefined {
    if (!k?.equals(this.#place.publicKey) || !sig || seq === undefined || !value) return undefined
    const name = `${seq} ${sig.toString('latin1')} ${value.toString('latin1')}`
    const known = this.#seen.get(name)
    if (known !== undefined) return known ? seq : undefined
    const isProven = verify(
      null,
      signedBytes({ salt: this.#place.salt, seq, value }),
      this.#key,
      sig,
    )
    this.#seen.set(name, isProven)
    if (isProven) this.#onItem({ value, seq })
    return isProven ? seq : undefined
  }
}

/** BEP 5: the distance is the XOR. */
function compareDistance(a: Buffer, b: Buffer, target: Buffer): number {
  for (const [index, wanted] of target.entries()) {
    const difference = ((a[index] ?? 0) ^ wanted) - ((b[index] ?? 0) ^ wanted)
    if (difference !== 0) return difference
  }
  return 0
}

/** What is found until the signal fires is worth having. */
function ignoreOnly(signal: AbortSignal): (error: unknown) => undefined {
  return (error) => {
    if (!signal.aborted) throw error
    return undefined
  }
}
