/** When a member writes the meeting item, and what: pure. Gentle to mainline, however many members there are. */
import type { PeerAddress } from './discovery.ts'
import { formatPeerAddress } from './discovery.ts'
import { fittingCount, type ListedMember } from './member-list.ts'

/** What a member sees when it has read the item. */
export interface Situation {
  /** members that the newest item names, who are not gone */
  readonly listed: readonly ListedMember[]
  /** several items are the newest: two members wrote at the same time */
  readonly isSplit: boolean
  readonly self: ListedMember
  /** other members that this one is in contact with */
  readonly contactCount: number
  readonly nowMs: number
  /** from 0 to 1, drawn once for a round */
  readonly chance: number
}

/** Why to write: this member is missing, elsewhere by now, the item gets old, it is two items, or it is our turn. */
export type WriteReason = 'absent' | 'moved' | 'old' | 'split' | 'turn'

/** How a round of reading and perhaps writing ended. */
export type RoundOutcome = 'nobody answered' | 'wrote' | 'kept'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
// BEP 44: a node may forget an item after two hours. Rounds are up to 75 minutes apart.
const WRITE_AGAIN_MS = 40 * MINUTE_MS
const OWN_ENTRY_MS = 2 * HOUR_MS
const GONE_MS = 4 * HOUR_MS
// Clocks of members agree to a minute.
const MAX_AHEAD_MS = 5 * MINUTE_MS
const ROUND_MS = HOUR_MS
// What was written is looked at soon: another may have written over it.
const CHECK_MS = 4_000
const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = MINUTE_MS
const FIRST_LONELY_MS = 20_000
const MAX_LONELY_MS = 10 * MINUTE_MS
const JITTER_MS_PER_MEMBER = 100
const MAX_JITTER_MS = MINUTE_MS
const CONFLICT_MS = 400
// Of those that are not named one in so many rounds comes in for another, for each place there is.
const ROUNDS_PER_TURN = 4

/** Those who said lately that they are there. */
export function withoutGone(members: readonly ListedMember[], nowMs: number): ListedMember[] {
  return members.filter(({ seenAtMs }) => {
    const ageMs = nowMs - seenAtMs
    return ageMs < GONE_MS && ageMs > -MAX_AHEAD_MS
  })
}

/** Every member once, as it was seen last. */
export function mergeMembers(...lists: readonly (readonly ListedMember[])[]): ListedMember[] {
  const byTag = new Map<string, ListedMember>()
  for (const member of lists.flat()) {
    const known = byTag.get(member.tag)
    if (!known || known.seenAtMs < member.seenAtMs) byTag.set(member.tag, member)
  }
  return [...byTag.values()]
}

/** @returns undefined where the item can stay as it is, as it mostly can */
export function reasonToWrite(situation: Situation): WriteReason | undefined {
  const { listed, isSplit, self, nowMs } = situation
  if (isSplit) return 'split'
  const own = listed.find(({ tag }) => tag === self.tag)
  if (!own) return reasonToComeIn(situation)
  if (namesOf(own.addresses) !== namesOf(self.addresses)) return 'moved'
  const writtenAtMs = Math.max(...listed.map(({ seenAtMs }) => seenAtMs))
  const isOld = nowMs - writtenAtMs > WRITE_AGAIN_MS || nowMs - own.seenAtMs > OWN_ENTRY_MS
  return isOld ? 'old' : undefined
}

/** What to write: this member first, then the others as far as there is room, by chance. */
export function membersToWrite(
  self: ListedMember,
  known: readonly ListedMember[],
  random: () => number,
): ListedMember[] {
  const others = known
    .filter(({ tag }) => tag !== self.tag)
    .map((member) => ({ member, order: random() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ member }) => member)
  return [self, ...others]
}

/** How long to wait before writing, ms: the more members may have seen the same, the longer. */
export function jitterMs(contactCount: number, random: () => number): number {
  return random() * Math.min(MAX_JITTER_MS, contactCount * JITTER_MS_PER_MEMBER)
}

/** How long to wait before reading again after the `attempt`-th conflict (from 1), ms. */
export function conflictPauseMs(attempt: number, random: () => number): number {
  return CONFLICT_MS * attempt * (0.5 + random())
}

/**
 * How long until the next round, ms.
 * @param options.inARow how many rounds in a row ended like this one, from 1
 * @param options.isAlone no other member is in contact: who comes is looked for more often
 */
export function nextRoundMs(
  outcome: RoundOutcome,
  { inARow, isAlone, random }: { inARow: number; isAlone: boolean; random: () => number },
): number {
  const backOff = 2 ** (inARow - 1)
  const spread = 0.75 + 0.5 * random()
  if (outcome === 'nobody answered')
    return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * backOff) * spread
  if (outcome === 'wrote') return Math.min(ROUND_MS, CHECK_MS * backOff) * spread
  return (isAlone ? Math.min(MAX_LONELY_MS, FIRST_LONELY_MS * backOff) : ROUND_MS) * spread
}

/** Into a full item one comes by turns: a thousand members do not push each other out of it all day. */
function reasonToComeIn({
  listed,
  self,
  contactCount,
  chance,
}: Situation): WriteReason | undefined {
  const placeCount = fittingCount([self, ...listed])
  if (placeCount > listed.length) return 'absent'
  const memberCount = Math.max(contactCount, placeCount)
  return chance * memberCount * ROUNDS_PER_TURN < placeCount ? 'turn' : undefined
}

function namesOf(addresses: readonly PeerAddress[]): string {
  return addresses.map(formatPeerAddress).toSorted().join()
}
