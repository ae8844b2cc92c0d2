interface Entry {
  readonly key: string
  readonly dueMs: number
  readonly order: number
}

// Entries that were replaced stay in the heap until they come up, or until there are too many of them.
const MAX_STALE_SHARE = 2
const MIN_HEAP_TO_COMPACT = 64

/** Keys by when they are due, the earliest first and equal ones in the order they came: a binary heap. */
export class DueQueue {
  readonly #entryByKey = new Map<string, Entry>()
  #heap: Entry[] = []
  #order = 0

  get size(): number {
    return this.#entryByKey.size
  }

  /** Puts a key in its place, or moves it there. */
  schedule(key: string, dueMs: number): void {
    const entry = { key, dueMs, order: this.#order }
    this.#order += 1
    this.#entryByKey.set(key, entry)
    this.#heap.push(entry)
    this.#siftUp(this.#heap.length - 1)
    if (this.#heap.length > MIN_HEAP_TO_COMPACT + this.size * MAX_STALE_SHARE) this.#compact()
  }

  remove(key: string): void {
    this.#entryByKey.delete(key)
  }

  /** The key that is due first; it stays. */
  peek(): { readonly key: string; readonly dueMs: number } | undefined {
    for (;;) {
      const first = this.#heap[0]
      if (!first || this.#entryByKey.get(first.key) === first) return first
      this.#dropFirst()
    }
  }

  /** Takes the key that is due first. */
  pop(): string | undefined {
    const key = this.peek()?.key
    if (key === undefined) return undefined
    this.#dropFirst()
    this.#entryByKey.delete(key)
    return key
  }

  /** All keys that are due later become due at `nowMs`, in the order they have. */
  scheduleAllBy(nowMs: number): void {
    const later = [...this.#entryByKey.values()].filter(({ dueMs }) => dueMs > nowMs)
    for (const { key } of later.sort(compareEntries)) this.schedule(key, nowMs)
  }

  #dropFirst(): void {
    const last = this.#heap.pop()
    if (!last || this.#heap.length === 0) return
    this.#heap[0] = last
    this.#siftDown()
  }

  #compact(): void {
    // A sorted array is a heap.
    this.#heap = [...this.#entryByKey.values()].sort(compareEntries)
  }

  #siftUp(start: number): void {
    for (let index = start; index > 0;) {
      const parent = (index - 1) >> 1
      if (!this.#swapIfBefore(index, parent)) return
      index = parent
    }
  }

  #siftDown(): void {
    for (let index = 0; ;) {
      const left = 2 * index + 1
      const smaller = this.#isBefore(left + 1, left) ? left + 1 : left
      if (!this.#swapIfBefore(smaller, index)) return
      index = smaller
    }
  }

  #swapIfBefore(index: number, other: number): boolean {
    if (!this.#isBefore(index, other)) return false
    const [a, b] = [this.#heap[index], this.#heap[other]]
    if (a && b) [this.#heap[index], this.#heap[other]] = [b, a]
    return true
  }

  #isBefore(index: number, other: number): boolean {
    const [a, b] = [this.#heap[index], this.#heap[other]]
    return a !== undefined && b !== undefined && compareEntries(a, b) < 0
  }
}

function compareEntries(a: Entry, b: Entry): number {
  return a.dueMs === b.dueMs ? a.order - b.order : a.dueMs - b.dueMs
}
