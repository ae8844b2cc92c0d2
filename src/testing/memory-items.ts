import type { ItemPlace } from '../discovery/meeting-place.ts'
import type { MeetingDht } from '../discovery/mainline-meeting.ts'
import type { ItemHolder, MutableItems, StoredItem } from '../discovery/mutable-items.ts'

const COPIES = 8

/** For tests: a DHT without a network, whose nodes keep one item for each place, and what was done to them. */
export class MemoryItems implements MutableItems {
  readonly #nodes = Array.from({ length: COPIES }, () => new Map<string, StoredItem>())
  readCount = 0
  writeCount = 0
  conflictCount = 0
  /** nobody answers */
  isSilent = false

  async read(
    { target }: ItemPlace,
    { onItem }: { signal: AbortSignal; onItem: (item: StoredItem) => void },
  ): Promise<ItemHolder[]> {
    this.readCount += 1
    if (this.isSilent) return []
    const told = new Set<StoredItem>()
    return this.#nodes.map((node, index) => {
      const item = node.get(target.toString('hex'))
      if (item && !told.has(item)) onItem(item)
      if (item) told.add(item)
      return { ...holderAt(index), ...(item && { seq: item.seq }) }
    })
  }

  async write(
    { target }: ItemPlace,
    { value, seq, holders }: StoredItem & { holders: readonly ItemHolder[] },
  ): Promise<{ stored: number; conflicts: number }> {
    const key = target.toString('hex')
    const item = { value, seq }
    let stored = 0
    for (const holder of holders) {
      const node = this.#nodes[holder.port - 1]
      const kept = node?.get(key)
      if (kept && (kept.seq >= seq || (holder.seq !== undefined && holder.seq !== kept.seq)))
        continue
      node?.set(key, item)
      stored += 1
    }
    this.writeCount += 1
    if (stored < holders.length) this.conflictCount += 1
    return { stored, conflicts: holders.length - stored }
  }

  /** Different items at once, as if two had been written where the nodes did not hear of each other. */
  split({ target }: ItemPlace, items: readonly [StoredItem, StoredItem]): void {
    this.#nodes.forEach((node, index) => node.set(target.toString('hex'), items[index % 2 ? 1 : 0]))
  }

  /** As after two hours in which nobody wrote (BEP 44). */
  forget(): void {
    for (const node of this.#nodes) node.clear()
  }

  /** What the nodes keep, each item once. */
  kept(): StoredItem[] {
    return [...new Set(this.#nodes.flatMap((node) => [...node.values()]))]
  }

  /** A way to it. */
  open(outerHost?: string): MeetingDht {
    return {
      items: this,
      nodeCount: () => (this.isSilent ? 0 : COPIES),
      outerHost: () => outerHost,
      [Symbol.asyncDispose]: async () => {},
    }
  }
}

function holderAt(index: number): ItemHolder {
  return { id: Buffer.alloc(20, index), host: '10.0.0.1', port: index + 1, token: Buffer.alloc(4) }
}
