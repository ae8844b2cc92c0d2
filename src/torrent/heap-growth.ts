import { setFlagsFromString } from 'node:v8'

// measured: 1 GiB through the door at 300, 150, 100 and 80 percent costs the leecher 6.6, 6.6, 7.4 and 7.9 s of
// processor (bench/seed-to-leecher.ts); four layers of 64 MiB at once peak at 244, 239, 222 and 215 MB of memory
// (node-faults.integration.test.ts), and a quarter of the full collections of an untouched heap happen at 300
const GROWTH_PERCENT = 20
// measured: V8's young generation has 32 MiB when a node has started, and with 1000 clients soon 128 MiB to the end
// (upstream-crowd.integration.test.ts); at 32 MiB, 512 MiB from the store take one client and four no longer and no
// more of the processor, as far as runs that differ by a fifth can tell
const YOUNG_GROWTH_FACTOR = 1

/**
 * Lets the heap grow to twice what lives in it before everything is collected. Each read of a socket or a
 * file brings a new buffer, which V8 counts against the heap's limit although it lies outside: with the heap of a
 * node, some 35 MB, every eight MB moved would set off a full collection. V8 reads this flag at each collection,
 * so it may be set late. Once per process is enough, twice does no harm. What is young stays as small as it is by now.
 */
export function growHeapGenerously(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`)
  setFlagsFromString(`--semi-space-growth-factor=${YOUNG_GROWTH_FACTOR}`)
}
