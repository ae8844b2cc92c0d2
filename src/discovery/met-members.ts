import { LRUCache } from 'lru-cache'

import { formatPeerAddress, type PeerAddress } from './discovery.ts'
import { withoutGone } from './meeting-policy.ts'
import type { ListedMember } from './member-list.ts'
import { PeerChannel } from './peer-channel.ts'

const MAX_MEMBERS = 256

/** The other members that the meeting item has named, until they are gone. */
export class MetMembers {
  readonly #ownTag: string
  readonly #firstReading = new PeerChannel()
  readonly #members = new LRUCache<string, ListedMember>({ max: MAX_MEMBERS })

  constructor(ownTag: string) {
    this.#ownTag = ownTag
  }

  get size(): number {
    return this.#members.size
  }

  /** One more list was read. @param tell of each address in it; `isNew` where it was not known */
  take(
    listed: readonly ListedMember[],
    tell: (address: PeerAddress, isNew: boolean) => void,
  ): void {
    const others = listed.filter(({ tag }) => tag !== this.#ownTag)
    const known = new Set(addressesOf([...this.#members.values()]).map(formatPeerAddress))
    for (const member of others) this.#members.set(member.tag, member)
    for (const address of addressesOf(others)) {
      this.#firstReading.push(address)
      tell(address, !known.has(formatPeerAddress(address)))
    }
  }

  /** While the item is read for the first time addresses as they come, later those that are known. */
  async *addresses(options: { signal?: AbortSignal } = {}): AsyncGenerator<PeerAddress> {
    if (this.#firstReading.isEnded) yield* addressesOf([...this.#members.values()])
    else yield* this.#firstReading.read(options)
  }

  /** The item was read, or there is nobody to ask: who waits need not any more. */
  endFirstReading(): void {
    this.#firstReading.end()
  }

  forgetGone(nowMs: number): void {
    const here = new Set(withoutGone([...this.#members.values()], nowMs))
    for (const [tag, member] of this.#members) if (!here.has(member)) this.#members.delete(tag)
  }
}

/** The best address of each first: of many members one may be enough. */
function addressesOf(members: readonly ListedMember[]): PeerAddress[] {
  const ranks = Math.max(0, ...members.map(({ addresses }) => addresses.length))
  return Array.from({ length: ranks }, (_, rank) =>
    members.flatMap(({ addresses }) => addresses[rank] ?? []),
  ).flat()
}
