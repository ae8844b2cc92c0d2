import type { SwarmKey } from '../membership/swarm-key.ts'
import type { MeetingPlace } from './meeting-place.ts'
import { mergeMembers, withoutGone } from './meeting-policy.ts'
import { parseMemberList, type ListedMember } from './member-list.ts'
import type { ItemHolder, StoredItem } from './mutable-items.ts'
import { openMemberList } from './sealed-member-list.ts'

interface ListReadingOptions {
  readonly swarmKey: SwarmKey
  readonly day: number
  readonly place: MeetingPlace
  readonly nowMs: number
  readonly onLoopback: boolean
}

/** What the nodes around one item say of it; they may have different ones. */
export class ListReading {
  readonly swarmKey: SwarmKey
  readonly day: number
  readonly place: MeetingPlace
  holders: readonly ItemHolder[] = []
  readonly #options: ListReadingOptions
  #topSeq = 0
  #newest: readonly ListedMember[][] = []
  #members: ListedMember[] = []

  constructor(options: ListReadingOptions) {
    this.#options = options
    this.swarmKey = options.swarmKey
    this.day = options.day
    this.place = options.place
  }

  /** The highest there is; 0 if there is none. */
  get topSeq(): number {
    return this.#topSeq
  }

  /** Two members wrote at the same time, and some nodes keep the one, some the other. */
  get isSplit(): boolean {
    return this.#newest.length > 1
  }

  /** Whom the newest item names, or one of them, without who is gone. */
  get listed(): readonly ListedMember[] {
    return this.#newest.at(-1) ?? []
  }

  /** Whom any of them names. */
  get members(): readonly ListedMember[] {
    return this.#members
  }

  /** One more copy, with a signature that is right. @returns whom it names */
  take({ value, seq }: StoredItem): readonly ListedMember[] {
    const { place, nowMs, onLoopback } = this.#options
    const list = openMemberList(value, place.sealingKey)
    const members = withoutGone((list && parseMemberList(list, { onLoopback })) ?? [], nowMs)
    if (seq > this.#topSeq || this.#newest.length === 0) this.#newest = [members]
    else if (seq === this.#topSeq) this.#newest = [...this.#newest, members]
    this.#topSeq = Math.max(this.#topSeq, seq)
    this.#members = mergeMembers(this.#members, members)
    return members
  }
}
