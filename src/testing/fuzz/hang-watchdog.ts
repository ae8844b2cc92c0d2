import { Worker } from 'node:worker_threads'

// As text: a thread that had to strip types first would take longer to start than a short run takes.
const WATCH = `
const { writeSync } = require('node:fs')
const { workerData: { progress, label, limitMs } } = require('node:worker_threads')
let last = 0
setInterval(() => {
  const now = Atomics.load(progress, 0)
  if (now !== 0 && now === last) {
    writeSync(2, label + ': input ' + now + ' has taken more than ' + limitMs + ' ms\\n')
    process.kill(process.pid, 'SIGKILL')
  }
  last = now
}, limitMs)`

/**
 * A thread that looks whether this one still gets on: a parser that never returns cannot be stopped from within. It
 * says which input it was, and kills the process.
 */
export class HangWatchdog implements AsyncDisposable {
  readonly #progress = new Int32Array(new SharedArrayBuffer(4))
  readonly #worker: Worker

  /** @param limitMs what one input may take; twice that at most passes */
  constructor({ label, limitMs }: { label: string; limitMs: number }) {
    this.#worker = new Worker(WATCH, {
      eval: true,
      workerData: { progress: this.#progress, label, limitMs },
    })
  }

  /** @param input its number, from 1; 0 while there is none */
  begin(input: number): void {
    Atomics.store(this.#progress, 0, input)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate()
  }
}
