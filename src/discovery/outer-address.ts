import { LRUCache } from 'lru-cache'

import { isDiallable } from './member-list.ts'

// A laptop that changes its network has another address; what was said before counts no more.
const VOTE_MS = 3_600_000
const MAX_VOTERS = 256
const MIN_VOTERS = 3
const COMPACT_BYTES = 6

/**
 * The address of this host as others see it: nodes of mainline say it with their answers (BEP 42, `ip`). Each may lie,
 * so that several, at different addresses, have to agree, and more than half of all.
 */
export class OuterAddress {
  readonly #votes: LRUCache<string, string>

  constructor({ now = () => performance.now() }: { now?: () => number } = {}) {
    this.#votes = new LRUCache({ max: MAX_VOTERS, ttl: VOTE_MS, perf: { now } })
  }

  /** An answer has come. @param said its field `ip`, whatever it is: compact, of IPv4 */
  onAnswer(voterHost: string, said: unknown): void {
    if (!(said instanceof Uint8Array) || said.length !== COMPACT_BYTES) return
    const host = said.subarray(0, 4).join('.')
    if (isDiallable({ host, port: 1 })) this.#votes.set(voterHost, host)
  }

  /** What most say; undefined while too few have said the same. */
  get host(): string | undefined {
    const countByHost = new Map<string, number>()
    let voterCount = 0
    for (const host of this.#votes.values()) {
      voterCount += 1
      countByHost.set(host, (countByHost.get(host) ?? 0) + 1)
    }
    const [winner] = [...countByHost].toSorted(([, a], [, b]) => b - a)
    const [host, count = 0] = winner ?? []
    return count >= MIN_VOTERS && count * 2 > voterCount ? host : undefined
  }
}
