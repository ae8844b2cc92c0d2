import type { Rate } from './token-bucket.ts'

/** What differs between a LAN and the world, and between tests and life. */
export interface DhtTuning {
  /** a question is lost after 1 to 1.25 times this */
  readonly timeoutMs: number
  /**
   * questions in flight, of all lookups and announces together. Each of those asks 20 nodes at once; with
   * less than that for all of them, a lookup waits behind the dead nodes of others.
   */
  readonly concurrency: number
  /** announces under way */
  readonly announcesAtOnce: number
  /** announces started per second; without it only their concurrency limits */
  readonly announcesPerSecond?: number
  /** of an address that never answered us: its datagrams (open swarm), those that do not open (closed) */
  readonly strangerRate: Rate
  /** of a node: its datagrams (open swarm: that answered us lately), its questions (closed) */
  readonly knownRate: Rate
  /** the bound over all of the first, and that over all of the second: what the CPU may cost */
  readonly totalRate: Rate
}

/**
 * For a closed swarm: an answer takes milliseconds, and whoever asks is a member. One that comes back with
 * thousands of keys announces them as fast as it is answered, and takes a refused question for a dead node.
 */
export const CLOSED_TUNING: DhtTuning = {
  timeoutMs: 500,
  // 16 lookups and 4 announces
  concurrency: 400,
  announcesAtOnce: 4,
  strangerRate: { perSecond: 20, burst: 100 },
  knownRate: { perSecond: 2000, burst: 20_000 },
  // measured: what does not open costs 10 µs
  totalRate: { perSecond: 10_000, burst: 40_000 },
}

/** For the open swarm on a network of one's own. */
export const PUBLIC_TUNING: DhtTuning = {
  ...CLOSED_TUNING,
  announcesPerSecond: 5,
  knownRate: { perSecond: 200, burst: 1000 },
  totalRate: { perSecond: 2000, burst: 4000 },
}

/** For mainline: as slow and as gentle as its other clients. */
export const MAINLINE_TUNING: DhtTuning = {
  ...PUBLIC_TUNING,
  timeoutMs: 2000,
  concurrency: 64,
  announcesAtOnce: 2,
}
