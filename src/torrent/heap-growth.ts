import { setFlagsFromString } from 'node:v8'

// measured: 1000 clients at once peak at 294 MiB with 100, and with 20 between 212 and 234
// (upstream-crowd.integration.test.ts); a pull from upstream takes as long with both
const USUAL_PERCENT = 20
// measured: 1 GiB from a seed to a leecher takes 8.6 to 9 s of processor on both ends with 100, and 11.1 to 11.9 with 20
// (bench/seed-to-leecher.ts); four layers of 64 MiB at once peak at 222 MB of memory with 100, and 244 with 300
// (node-faults.integration.test.ts)
const TRANSFER_PERCENT = 100
// measured: V8's young generation has 32 MiB when a node has started, and with 1000 clients soon 128 MiB to the end
// (upstream-crowd.integration.test.ts); at 32 MiB, 512 MiB from the store take one client and four no longer and no
// more of the processor, as far as runs that differ by a fifth can tell
const YOUNG_GROWTH_FACTOR = 1

/**
 * How far the heap may grow over what lives in it before everything is collected. Little as a rule: a thousand clients
 * leave much behind. While torrents are live, to twice as much: each block of a wire brings a new buffer, which V8
 * counts against the heap's limit although it lies outside. V8 reads these flags at each collection, so they may be
 * set at any time, by whoever; they hold for the whole process. What is young stays as small as it is by now.
 */
export function tameHeap({ isTransferring }: { isTransferring: boolean }): void {
  setFlagsFromString(`--semi-space-growth-factor=${YOUNG_GROWTH_FACTOR}`)
  setFlagsFromString(`--heap-growing-percent=${isTransferring ? TRANSFER_PERCENT : USUAL_PERCENT}`)
}
