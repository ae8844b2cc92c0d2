/**
 * Members of a closed swarm at different places find each other by one mutable item on mainline (BEP 44).
 *
 *   round ─▶ read under all keys that count, today's item (around midnight two)
 *              each copy as it comes ─▶ signature ─▶ AEAD ─▶ list ─▶ `onMember`, and who reads `findPeers`
 *         ─▶ is there a reason to write? ─▶ wait by chance ─▶ read again ─▶ write with `cas` ─▶ look at it soon
 *
 * Several may write at once, and nodes may keep different items. So what is known is the union of all that was
 * read, and every entry ends by its own time: an old item that is shown again says nothing new.
 */
import { messageOf } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { deadline } from '../support/deadline.ts'
import { pause } from '../support/pause.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { MainlineStats, PeerAddress } from './discovery.ts'
import { ListReading } from './list-reading.ts'
import { daysToRead, daysToWrite, meetingPlaceOf } from './meeting-place.ts'
import {
  conflictPauseMs,
  jitterMs,
  membersToWrite,
  mergeMembers,
  nextRoundMs,
  reasonToWrite,
  type RoundOutcome,
} from './meeting-policy.ts'
import { formatMemberList, type ListedMember } from './member-list.ts'
import { MetMembers } from './met-members.ts'
import type { MutableItems } from './mutable-items.ts'
import { sealMemberList } from './sealed-member-list.ts'

/** Which swarm it is: what is said is for members with the current key, who has another accepted one is heard. */
export interface MeetingKeys {
  readonly current: SwarmKey
  /** the current one first */
  readonly accepted: readonly SwarmKey[]
}

/** A way to mainline until it is disposed. */
export interface MeetingDht extends AsyncDisposable {
  readonly items: MutableItems
  nodeCount(): number
  /** how others see this host, if enough of them agree */
  outerHost(): string | undefined
}

interface MainlineMeetingOptions {
  readonly keys: MeetingKeys
  /** where the nodes of the swarm meet: members come up there */
  readonly isNodesKey: (key: RendezvousKey) => boolean
  /** called once, when nobody waits for it */
  readonly open: () => Promise<MeetingDht>
  /** 16 hex digits, of this node only */
  readonly tag: string
  /** where this node takes connections, for those who are elsewhere */
  readonly addresses: (outerHost: string | undefined) => PeerAddress[]
  /** this node is on loopback: so may others be */
  readonly onLoopback?: boolean
  /** members in contact now, however they were found */
  readonly contactCount: () => number
  /** an address of a member, each time it is read. @param isNew it was not known before */
  readonly onMember: (address: PeerAddress, isNew: boolean) => void
  readonly log?: Log
  readonly now?: () => number
  readonly random?: () => number
}

const READ_MS = 20_000
const WRITE_MS = 10_000
const MAX_ATTEMPTS = 4
const LOOK_MS = 20_000
// Shorter than that, nobody else has written meanwhile.
const SHORT_WAIT_MS = 500

/** Keeps this node in the item and finds the others there, until it is disposed. */
export class MainlineMeeting implements AsyncDisposable {
  readonly #options: MainlineMeetingOptions
  readonly #log: Log
  readonly #now: () => number
  readonly #random: () => number
  readonly #closing = new AbortController()
  readonly #members: MetMembers
  readonly #running: Promise<void>
  #wake = new AbortController()
  #dht: MeetingDht | undefined
  #isListed = false

  constructor(options: MainlineMeetingOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
    this.#now = options.now ?? Date.now
    this.#random = options.random ?? Math.random
    this.#members = new MetMembers(options.tag)
    this.#running = this.#run()
  }

  /** Addresses of members: while the item is read for the first time as they come, later those that are known. */
  async *findPeers(
    key: RendezvousKey,
    options: { signal?: AbortSignal } = {},
  ): AsyncGenerator<PeerAddress> {
    if (this.#options.isNodesKey(key)) yield* this.#members.addresses(options)
  }

  /** The keys have changed, or the network: reads and writes at once. */
  refresh(): void {
    this.#wake.abort()
  }

  stats(): MainlineStats {
    const outerHost = this.#dht?.outerHost()
    return {
      nodes: this.#dht?.nodeCount() ?? 0,
      ...(outerHost === undefined ? {} : { outerHost }),
      members: this.#members.size,
      isListed: this.#isListed,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    try {
      await using dht = await this.#options.open()
      this.#dht = dht
      await this.#meet(dht.items)
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'mainline cannot be used')
    } finally {
      this.#members.endFirstReading()
    }
  }

  async #meet(items: MutableItems): Promise<void> {
    const { signal } = this.#closing
    let [last, inARow]: [RoundOutcome | undefined, number] = [undefined, 0]
    while (!signal.aborted) {
      this.#wake = new AbortController()
      const outcome = await this.#tryRound(items, signal)
      inARow = outcome === last ? inARow + 1 : 1
      last = outcome
      const isAlone = this.#options.contactCount() === 0
      const waitMs = nextRoundMs(outcome, { inARow, isAlone, random: this.#random })
      this.#log.debug({ outcome, members: this.#members.size, waitMs }, 'meeting on mainline')
      await this.#waitForNext(waitMs, { isAlone })
    }
  }

  /** Ends early when this node, which was in contact with others, is not any more: it may be somewhere else by now. */
  async #waitForNext(waitMs: number, { isAlone }: { isAlone: boolean }): Promise<void> {
    const signal = AbortSignal.any([this.#closing.signal, this.#wake.signal])
    for (let leftMs = waitMs; leftMs > 0 && !signal.aborted; leftMs -= LOOK_MS) {
      await pause(Math.min(leftMs, LOOK_MS), signal)
      if (!isAlone && this.#options.contactCount() === 0) return
    }
  }

  async #tryRound(items: MutableItems, signal: AbortSignal): Promise<RoundOutcome> {
    try {
      return await this.#round(items, signal)
    } catch (error) {
      // It goes on: the next round has other nodes, and other items.
      this.#log.warn({ error: messageOf(error) }, 'meeting on mainline failed')
      this.#members.endFirstReading()
      return 'nobody answered'
    }
  }

  async #round(items: MutableItems, signal: AbortSignal): Promise<RoundOutcome> {
    const { current, accepted } = this.#options.keys
    const read = async (swarmKey: SwarmKey) =>
      await Promise.all(
        daysToRead(swarmKey, this.#now()).map((day) =>
          this.#read(items, { swarmKey, day }, signal),
        ),
      )
    const [own = []] = await Promise.all([current, ...accepted.filter(isNot(current))].map(read))
    this.#members.endFirstReading()
    this.#members.forgetGone(this.#now())
    if (own.every(({ holders }) => holders.length === 0)) return 'nobody answered'
    let outcome: RoundOutcome = 'kept'
    for (const day of daysToWrite(current, this.#now())) {
      const others = own.flatMap(({ members }) => members)
      const known = own.find((reading) => reading.day === day)
      const reading = known ?? (await this.#read(items, { swarmKey: current, day }, signal))
      if (await this.#keep(items, { reading, others }, signal)) outcome = 'wrote'
    }
    return outcome
  }

  async #read(
    items: MutableItems,
    { swarmKey, day }: { swarmKey: SwarmKey; day: number },
    signal: AbortSignal,
  ): Promise<ListReading> {
    const place = meetingPlaceOf(swarmKey, day)
    const { onLoopback = false } = this.#options
    const reading = new ListReading({ swarmKey, day, place, onLoopback, nowMs: this.#now() })
    reading.holders = await items.read(place, {
      signal: deadline(READ_MS, signal),
      onItem: (item) => this.#members.take(reading.take(item), this.#options.onMember),
    })
    return reading
  }

  /** Writes as long as there is a reason to. @returns whether anything was written */
  async #keep(
    items: MutableItems,
    { reading: first, others }: { reading: ListReading; others: readonly ListedMember[] },
    signal: AbortSignal,
  ): Promise<boolean> {
    let [reading, hasWritten] = [first, false]
    const chance = this.#random()
    for (let attempt = 1; attempt <= MAX_ATTEMPTS && !signal.aborted; attempt += 1) {
      if (this.#reasonToWrite(reading, chance) === undefined) break
      const waitMs =
        attempt === 1
          ? jitterMs(this.#options.contactCount(), this.#random)
          : conflictPauseMs(attempt - 1, this.#random)
      await pause(waitMs, signal)
      if (waitMs > SHORT_WAIT_MS || attempt > 1) reading = await this.#read(items, reading, signal)
      if (signal.aborted || this.#reasonToWrite(reading, chance) === undefined) break
      const { stored, conflicts } = await this.#write(items, { reading, others }, signal)
      hasWritten ||= stored > 0
      if (conflicts === 0) break
    }
    this.#isListed = hasWritten || reading.listed.some(({ tag }) => tag === this.#options.tag)
    return hasWritten
  }

  async #write(
    items: MutableItems,
    { reading, others }: { reading: ListReading; others: readonly ListedMember[] },
    signal: AbortSignal,
  ): Promise<{ stored: number; conflicts: number }> {
    const { place, holders, members } = reading
    const known = mergeMembers(members, others)
    const list = membersToWrite(this.#self(), known, this.#random)
    const value = sealMemberList(formatMemberList(list), place.sealingKey)
    // The time, so that who has not found the last one still writes a later one.
    const seq = Math.max(reading.topSeq + 1, Math.floor(this.#now() / 1000))
    return await items.write(
      place,
      { value, seq, holders },
      { signal: deadline(WRITE_MS, signal), sign: place.sign },
    )
  }

  #reasonToWrite({ listed, isSplit }: ListReading, chance: number): string | undefined {
    const self = this.#self()
    // Who cannot be reached has nothing to say: it dials the others.
    if (self.addresses.length === 0) return undefined
    const contactCount = this.#options.contactCount()
    return reasonToWrite({ listed, isSplit, self, contactCount, nowMs: this.#now(), chance })
  }

  #self(): ListedMember {
    const { tag, addresses } = this.#options
    return { tag, seenAtMs: this.#now(), addresses: addresses(this.#dht?.outerHost()) }
  }
}

function isNot(key: SwarmKey): (other: SwarmKey) => boolean {
  return (other) => !other.equals(key)
}
