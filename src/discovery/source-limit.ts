import { LRUCache } from 'lru-cache'

import { TokenBucket, type Rate } from './token-bucket.ts'

// A flood with forged sources makes every source a new one: the limit over all of them holds then.
const MAX_SOURCES = 8192

/** Bounds what strangers may ask: each source, and all of them together. */
export class SourceLimit {
  readonly #perSource: Rate
  readonly #all: TokenBucket
  readonly #buckets = new LRUCache<string, TokenBucket>({ max: MAX_SOURCES })

  constructor(
    { perSource, all }: { perSource: Rate; all: Rate },
    nowMs: number = performance.now(),
  ) {
    this.#perSource = perSource
    this.#all = new TokenBucket(all, nowMs)
  }

  /** Whether one more datagram of this source may be looked at; counts it. */
  take(source: string, nowMs: number = performance.now()): boolean {
    return this.#bucketOf(source, nowMs).take(nowMs) && this.#all.take(nowMs)
  }

  /** Whether no more may be looked at; counts nothing. */
  isSpent(source: string, nowMs: number = performance.now()): boolean {
    const bucket = this.#buckets.get(source)
    return (bucket?.waitMs(nowMs) ?? 0) > 0 || this.#all.waitMs(nowMs) > 0
  }

  #bucketOf(source: string, nowMs: number): TokenBucket {
    let bucket = this.#buckets.get(source)
    if (!bucket) {
      bucket = new TokenBucket(this.#perSource, nowMs)
      this.#buckets.set(source, bucket)
    }
    return bucket
  }
}
