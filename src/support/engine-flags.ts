/** Flags of V8 that it reads whenever it needs them. They hold for the whole process, whoever sets them. */
import { setFlagsFromString } from 'node:v8'

// measured: 1000 clients at once peak 30 to 60 MiB lower with 20 than with 100 (upstream-crowd.integration.test.ts);
// a pull from upstream takes as long with both
const USUAL_PERCENT = 20
// measured: 1 GiB from a seed to a leecher takes 8.6 to 9 s of processor on both ends with 100, and 11.1 to 11.9 with 20
// (bench/seed-to-leecher.ts); four layers of 64 MiB at once peak at 222 MB of memory with 100, and 244 with 300
// (node-faults.integration.test.ts)
const TRANSFER_PERCENT = 100
// measured: V8's young generation has 32 MiB when a node has started, and with 1000 clients soon 128 MiB to the end
// (upstream-crowd.integration.test.ts); at 32 MiB, 512 MiB from the store take one client and four no longer and no
// more of the processor, as far as runs that differ by a fifth can tell
const YOUNG_GROWTH_FACTOR = 1
const NEVER = 2 ** 31 - 1

/**
 * How far the heap may grow over what lives in it before everything is collected. Little as a rule: a thousand clients
 * leave much behind. While torrents are live, to twice as much: each block of a wire brings a new buffer, which V8
 * counts against the heap's limit although it lies outside. What is young stays as small as it is by now.
 */
export function tameHeap({ isTransferring }: { isTransferring: boolean }): void {
  setFlagsFromString(`--semi-space-growth-factor=${YOUNG_GROWTH_FACTOR}`)
  setFlagsFromString(`--heap-growing-percent=${isTransferring ? TRANSFER_PERCENT : USUAL_PERCENT}`)
}

/**
 * For WebAssembly that is loaded from now on: V8 compiles it quickly, and not a second time when it is used much. The
 * one such module here reads the heads of HTTP answers, and the second time took 14 MB that the allocator then keeps.
 */
export function compileWasmOnce(): void {
  setFlagsFromString(`--wasm-tiering-budget=${NEVER}`)
}
