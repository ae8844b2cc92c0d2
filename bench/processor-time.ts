import { readFileSync } from 'node:fs'

import { childrenOf } from '../src/testing/process-tree.ts'

// proc(5): times in /proc/pid/stat count in ticks of 1/100 s on every Linux that matters.
const TICKS_PER_SECOND = 100
const SAMPLE_MS = 250

/** Seconds that a process and those it has started have spent on a processor so far, user and system. */
export function processorSeconds(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, each) => sum + secondsOf(each), 0)
}

function secondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** How busy all processors of the machine are together, whoever keeps them so. */
export class BusyWatch implements Disposable {
  readonly #shares: number[] = []
  readonly #timer: NodeJS.Timeout
  #last = readTicks()

  constructor() {
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS)
  }

  /** Shares of 1: the mean, and the busiest quarter of a second. */
  get busy(): { mean: number; most: number } {
    if (this.#shares.length === 0) this.#sample()
    const sum = this.#shares.reduce((total, share) => total + share, 0)
    return {
      mean: Number((sum / this.#shares.length).toFixed(2)),
      most: Number(Math.max(...this.#shares).toFixed(2)),
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #sample(): void {
    const now = readTicks()
    const all = now.all - this.#last.all
    if (all > 0) this.#shares.push(1 - (now.idle - this.#last.idle) / all)
    this.#last = now
  }
}

function readTicks(): { all: number; idle: number } {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  const ticks = line.split(/\s+/).slice(1, 9).map(Number)
  const [, , , idle = 0, waiting = 0] = ticks
  return { all: ticks.reduce((sum, count) => sum + count, 0), idle: idle + waiting }
}
