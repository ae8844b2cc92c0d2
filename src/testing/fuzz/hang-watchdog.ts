/** A thread that looks whether the other one still gets on: a parser that never returns cannot be stopped from within. */
import { writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'

/** What the watched thread shares. */
export interface WatchedRun {
  /** the number of the input in hand, from 1; 0 while there is none */
  readonly progress: Int32Array
  readonly label: string
  readonly limitMs: number
}

const STDERR = 2
const { progress, label, limitMs } = workerData as WatchedRun
let last = 0

setInterval(() => {
  const now = Atomics.load(progress, 0)
  if (now !== 0 && now === last) {
    writeSync(STDERR, `${label}: input ${now} has taken more than ${limitMs} ms\n`)
    process.kill(process.pid, 'SIGKILL')
  }
  last = now
}, limitMs)
