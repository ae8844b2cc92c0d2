import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { isOperationError, type ErrorCode } from '../../errors.ts'
import { SeededRandom } from '../seeded-random.ts'
import type { Grammar } from './grammars.ts'
import { HangWatchdog } from './hang-watchdog.ts'
import { Mutator } from './mutator.ts'

/** A parser of what a peer sends, with what it promises. */
export interface FuzzTarget {
  readonly name: string
  readonly grammar: Grammar
  /** messages as they are sent; latin1 where the parser reads bytes */
  readonly seeds: readonly string[]
  /** all that it may throw; nothing else, and no other error */
  readonly codes: readonly ErrorCode[]
  /**
   * Reads one input, and asserts that what was taken is within its bounds.
   * @returns what kind of input was taken, in a word or two; undefined where it was refused without an error
   */
  read(input: string): string | undefined
  /** waits until there is something to read with again; undefined while there is */
  settle?(): Promise<void> | undefined
  close?(): Promise<void>
}

/** What came of a run. */
export interface FuzzReport {
  readonly name: string
  readonly seed: number
  readonly inputs: number
  /** inputs that were taken as good */
  readonly taken: number
  /** different answers: kinds of input taken, and messages of errors */
  readonly answers: number
  readonly ms: number
  /** of one input, ms */
  readonly slowestMs: number
  /** bytes in use after the run, beyond those before it; 0 for runs too short to tell */
  readonly grownBytes: number
}

/** One input may take this long, ms: far more than any needs, and far less than anybody would notice. */
const MAX_INPUT_MS = 250
/** What may be left behind, bytes: compiled code and caches of the engine, but nothing by input. */
const MAX_GROWN_BYTES = 16 * 1024 * 1024
const HANG_MS = 10_000
const MAX_ANSWERS = 4000
const TURN_EVERY = 4096
const WARM_UP_INPUTS = 20_000

/** Opens a target, reads with it as {@link fuzz} does, and closes it. */
export async function fuzzOpened(
  open: () => FuzzTarget | Promise<FuzzTarget>,
  options: { count: number; seed: number },
): Promise<FuzzReport> {
  const target = await open()
  try {
    return await fuzz(target, options)
  } finally {
    await target.close?.()
  }
}

/**
 * Reads `count` inputs that come from the seeds by change. Guided by what the parser answers: an input that is taken
 * in a new way, or refused with words not heard before, becomes a seed too, so that later inputs get further in.
 * @throws AssertionError with the input: a wrong error, a value out of bounds, an input that took too long, or growth
 */
export async function fuzz(
  target: FuzzTarget,
  { count, seed }: { count: number; seed: number },
): Promise<FuzzReport> {
  const stackTraceLimit = Error.stackTraceLimit
  const label = `fuzz ${target.name}, seed ${seed}`
  await using watchdog = new HangWatchdog({ label, limitMs: HANG_MS })
  // A stack takes longer to make than most inputs take to read.
  Error.stackTraceLimit = 0
  try {
    // Of a short run most of what it leaves behind is compiled code.
    const isMeasured = count >= WARM_UP_INPUTS
    if (isMeasured) await new Run(target, { seed, watchdog }).read(WARM_UP_INPUTS)
    const before = isMeasured ? bytesInUse() : 0
    const run = new Run(target, { seed, watchdog })
    const startedMs = performance.now()
    await run.read(count)
    const report = { ...run.report(), ms: Math.round(performance.now() - startedMs) }
    run.forget()
    // What ended last goes in a turn of the loop.
    for (let turns = 0; turns < 10; turns += 1) await new Promise(setImmediate)
    const grownBytes = isMeasured ? bytesInUse() - before : 0
    assert.ok(
      grownBytes < MAX_GROWN_BYTES,
      `${target.name}: ${grownBytes} bytes more (seed ${seed})`,
    )
    return { ...report, grownBytes }
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

class Run {
  readonly #target: FuzzTarget
  readonly #seed: number
  #mutator: Mutator | undefined
  readonly #answers = new Set<string>()
  readonly #watchdog: HangWatchdog
  #inputs = 0
  #taken = 0
  #slowestMs = 0

  constructor(target: FuzzTarget, { seed, watchdog }: { seed: number; watchdog: HangWatchdog }) {
    this.#target = target
    this.#seed = seed
    this.#watchdog = watchdog
    this.#mutator = new Mutator(new SeededRandom(seed), target.grammar, target.seeds)
  }

  async read(count: number): Promise<void> {
    const mutator = this.#mutator
    if (!mutator) return
    try {
      while (this.#inputs < count) {
        const settling = this.#target.settle?.()
        if (settling) await settling
        this.#inputs += 1
        if (this.#inputs % TURN_EVERY === 0) await new Promise(setImmediate)
        this.#watchdog.begin(this.#inputs)
        this.#readOne(mutator.next(), mutator)
      }
    } finally {
      this.#watchdog.begin(0)
    }
  }

  report(): Omit<FuzzReport, 'ms' | 'grownBytes'> {
    return {
      name: this.#target.name,
      seed: this.#seed,
      inputs: this.#inputs,
      taken: this.#taken,
      answers: this.#answers.size,
      slowestMs: Math.round(this.#slowestMs * 100) / 100,
    }
  }

  /** What it keeps to go on is not what the parser left behind. */
  forget(): void {
    this.#mutator = undefined
    this.#answers.clear()
  }

  #readOne(input: string, mutator: Mutator): void {
    const startedMs = performance.now()
    const answer = this.#answerTo(input)
    const tookMs = performance.now() - startedMs
    if (tookMs > this.#slowestMs) this.#onSlow(input, tookMs)
    if (answer === undefined || this.#answers.has(answer) || this.#answers.size >= MAX_ANSWERS)
      return
    this.#answers.add(answer)
    mutator.keep(input)
  }

  #answerTo(input: string): string | undefined {
    try {
      const kind = this.#target.read(input)
      if (kind === undefined) return undefined
      this.#taken += 1
      return kind
    } catch (error) {
      if (isOperationError(error) && this.#target.codes.includes(error.code))
        return error.message.replaceAll(/\d+|"[^"]*"|found .*/g, '#').slice(0, 120)
      throw this.#failure(input, this.#withStack(input, error))
    }
  }

  /** The same once more: others use the processor, and the collector its pauses. */
  #onSlow(input: string, tookMs: number): void {
    let leastMs = tookMs
    const taken = this.#taken
    for (let again = 0; again < 2 && leastMs > 1; again += 1) {
      const startedMs = performance.now()
      this.#answerTo(input)
      leastMs = Math.min(leastMs, performance.now() - startedMs)
    }
    this.#taken = taken
    this.#slowestMs = Math.max(this.#slowestMs, leastMs)
    if (leastMs > MAX_INPUT_MS)
      throw this.#failure(input, new Error(`it took ${Math.round(leastMs)} ms`))
  }

  #withStack(input: string, error: unknown): unknown {
    Error.stackTraceLimit = 20
    try {
      this.#target.read(input)
    } catch (again) {
      return error instanceof Error && String(again) === String(error) ? again : error
    } finally {
      Error.stackTraceLimit = 0
    }
    return error
  }

  #failure(input: string, cause: unknown): Error {
    const shown = JSON.stringify(input.length > 4000 ? `${input.slice(0, 4000)}…` : input)
    const where = `${this.#target.name}, seed ${this.#seed}, input ${this.#inputs}`
    return new assert.AssertionError({
      message: `${where}: ${shown}\n${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`,
    })
  }
}

function bytesInUse(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
