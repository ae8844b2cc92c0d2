/**
 * How the keys of a swarm follow each other, at one node. Nodes that know the same orders agree on all of this,
 * in whatever sequence they heard them:
 *
 *   base ─▶ order ─▶ order ─▶ order    by generation, then by hash: the last one that counts is the newest key
 *
 * - An order counts for nothing when its issuer was shut out by one before it.
 * - What came before an order is taken from everybody while that order's overlap lasts, then from those only who were
 *   met before it ended, and they are told nothing but the orders.
 * - A node begins to seal with a key a moment after it was told of it: until then others may not have it. Where
 *   somebody is shut out it does so at once, and opens nothing more that is sealed with an old one.
 *
 * All of it is a function of what is on disk and of the clock: a node that is killed at any point goes on from there.
 */
import { compareOrders, MAX_KEY_ORDERS, MAX_REVOKED, type KeyOrder } from './key-order.ts'
import { swarmIdOf, type SwarmKey } from './swarm-key.ts'
import type { FormerKey, SwarmKeyState } from './swarm-keys.ts'

/** An order, and when this node was told of it, by its own clock in ms. */
export interface TakenOrder extends KeyOrder {
  readonly takenAtMs: number
}

/** What a node knows of the keys of its swarm. */
export interface KeyLine {
  /** where it begins: the key of the first start, or of orders that are forgotten */
  readonly base: {
    readonly key: SwarmKey
    readonly generation: number
    readonly revoked: readonly string[]
  }
  /** in their order */
  readonly orders: readonly TakenOrder[]
}

// Those before are only good for asking which key there is now.
const MAX_ACCEPTED = 5

/** The line of a node that has a key and was never told of another. */
export function newKeyLine(key: SwarmKey): KeyLine {
  return { base: { key, generation: 0, revoked: [] }, orders: [] }
}

/** Whether the line goes through this key. */
export function isInLine({ base, orders }: KeyLine, key: SwarmKey): boolean {
  return base.key.equals(key) || orders.some((order) => order.key.equals(key))
}

/** The order that decides; undefined while there is only the base. */
export function lastOrder(line: KeyLine): TakenOrder | undefined {
  return soundOrders(line).at(-1)
}

/** All who were shut out, the last ones last. */
export function revokedIn(line: KeyLine): string[] {
  const all = [...line.base.revoked, ...soundOrders(line).flatMap(({ revoked }) => revoked)]
  return [...new Set(all)].slice(-MAX_REVOKED)
}

/**
 * The line with the orders among `heard` that concern it.
 * @param options.ownId this node: who shuts it out is not obeyed by it
 * @returns the same line where nothing is new
 */
export function withOrders(
  line: KeyLine,
  heard: readonly KeyOrder[],
  { ownId, nowMs }: { ownId: string; nowMs: number },
): KeyLine {
  const linked = linkedTo(line, heard)
  let merged = line
  for (const order of linked.toSorted(compareOrders)) {
    if (isTakenInto(merged, order, ownId))
      merged = withOrder(merged, { ...order, takenAtMs: nowMs })
  }
  return merged
}

/** Which keys count at a moment. @param settleMs how long after it is told of a key a node begins to send with it */
export function keyStateAt(
  line: KeyLine,
  { nowMs, settleMs }: { nowMs: number; settleMs: number },
): Omit<SwarmKeyState, 'metAtMs'> & { nextChangeAtMs: number } {
  const sound = soundOrders(line)
  const newest = sound.at(-1)?.key ?? line.base.key
  const settled = sound.findLast((order) => sentFromMs(order, settleMs) <= nowMs)
  const current = settled?.key ?? line.base.key
  const before = keysBefore(line, settleMs)
  const others = before.filter(({ acceptedUntilMs }) => acceptedUntilMs > nowMs)
  const accepted = [newest, ...others.map(({ key }) => key)].slice(0, MAX_ACCEPTED)
  const times = [
    ...sound.map((order) => sentFromMs(order, settleMs)),
    ...before.flatMap(({ endedAtMs, acceptedUntilMs }) => [endedAtMs, acceptedUntilMs]),
  ]
  return {
    current: accepted.find((key) => key.equals(current)) ?? newest,
    accepted,
    former: before
      .filter(({ endedAtMs }) => endedAtMs <= nowMs)
      .map(({ key, endedAtMs }) => ({ key, endedAtMs })),
    revoked: new Set(revokedIn(line)),
    nextChangeAtMs: Math.min(...times.filter((atMs) => atMs > nowMs)),
  }
}

/** Others may not have it yet; but who was shut out is to understand nothing more, and that comes first. */
function sentFromMs({ takenAtMs, overlapMs }: TakenOrder, settleMs: number): number {
  return takenAtMs + (overlapMs > 0 ? settleMs : 0)
}

/** Orders that count: each is of somebody whom none before it shut out. */
function soundOrders({ base, orders }: KeyLine): TakenOrder[] {
  const revoked = new Set(base.revoked)
  return orders.filter((order) => {
    if (revoked.has(order.issuer)) return false
    for (const nodeId of order.revoked) revoked.add(nodeId)
    return true
  })
}

/** Those that begin at a key of this line, or lead to one, or come with those that do. */
function linkedTo(line: KeyLine, heard: readonly KeyOrder[]): KeyOrder[] {
  const ids = new Set([line.base.key, ...line.orders.map(({ key }) => key)].map(swarmIdOf))
  const left = new Set(heard)
  const linked: KeyOrder[] = []
  for (let isNew = true; isNew;) {
    isNew = false
    for (const order of left) {
      if (!ids.has(order.from) && !ids.has(swarmIdOf(order.key))) continue
      ids.add(order.from).add(swarmIdOf(order.key))
      left.delete(order)
      linked.push(order)
      isNew = true
    }
  }
  return linked
}

function isTakenInto(line: KeyLine, order: KeyOrder, ownId: string): boolean {
  const { base, orders } = line
  if (orders.some(({ key }) => key.equals(order.key))) return false
  if (order.generation <= base.generation || order.revoked.includes(ownId)) return false
  const before = orders.filter((other) => compareOrders(other, order) < 0)
  if (revokedIn({ base, orders: before }).includes(order.issuer)) return false
  // Who was shut out says, as if before that, that others are.
  const isOfRevoked = revokedIn(line).includes(order.issuer)
  const known = new Set(revokedIn(line))
  return !isOfRevoked || order.revoked.every((nodeId) => known.has(nodeId))
}

function withOrder({ base, orders }: KeyLine, order: TakenOrder): KeyLine {
  const all = [...orders, order].toSorted(compareOrders)
  const dropped = { base, orders: all.slice(0, Math.max(0, all.length - MAX_KEY_ORDERS)) }
  const last = lastOrder(dropped)
  return {
    base: last ? { key: last.key, generation: last.generation, revoked: revokedIn(dropped) } : base,
    orders: all.slice(dropped.orders.length),
  }
}

/** The keys that are not the newest any more, the newest of them first. */
function keysBefore(
  line: KeyLine,
  settleMs: number,
): (FormerKey & { readonly acceptedUntilMs: number })[] {
  const sound = soundOrders(line)
  const newest = sound.at(-1)?.key ?? line.base.key
  const seen: SwarmKey[] = [newest]
  const found = []
  for (const each of [...line.orders.toReversed(), line.base]) {
    if (seen.some((key) => key.equals(each.key))) continue
    seen.push(each.key)
    const isSound = each === line.base || sound.some((order) => order === each)
    const later = sound.filter((order) => compareOrders(order, each) > 0)
    found.push({
      key: each.key,
      ...(isSound ? endBy(later, settleMs) : { endedAtMs: each.generation, acceptedUntilMs: 0 }),
    })
  }
  return found
}

/** When a key ended for who was not met before, and until when those who know no other are dialled with it. */
function endBy(
  later: readonly TakenOrder[],
  settleMs: number,
): { endedAtMs: number; acceptedUntilMs: number } {
  const ends = later.map(({ generation, overlapMs, takenAtMs }) => {
    // By whichever clock is behind: nobody new comes in between.
    const endedAtMs = Math.min(generation, takenAtMs) + overlapMs
    return { endedAtMs, acceptedUntilMs: Math.max(endedAtMs, takenAtMs + 2 * settleMs) }
  })
  return {
    endedAtMs: Math.min(...ends.map(({ endedAtMs }) => endedAtMs)),
    acceptedUntilMs: Math.min(...ends.map(({ acceptedUntilMs }) => acceptedUntilMs)),
  }
}
