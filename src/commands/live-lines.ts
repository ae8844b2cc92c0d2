import { MultiBar, type SingleBar } from 'cli-progress'

import type { Output } from './output.ts'

const FRAMES_PER_SECOND = 10

/** Lines at the foot of a terminal that are drawn again and again, each by its own function. */
export class LiveLines implements Disposable {
  readonly #output: Output
  readonly #bars: MultiBar
  readonly #lineByKey = new Map<
    string,
    { readonly bar: SingleBar; readonly render: () => string }
  >()
  readonly #maxLines: number

  constructor(output: Output) {
    this.#output = output
    this.#maxLines = Math.max(2, (output.stderr.rows ?? 24) - 2)
    this.#bars = new MultiBar({
      // a terminal, as whoever makes this has checked; of the full type only write and isTTY are used
      stream: output.stderr as NodeJS.WriteStream,
      fps: FRAMES_PER_SECOND,
      hideCursor: true,
      // without it a line that moved up is not drawn again
      forceRedraw: true,
      clearOnComplete: true,
      format: (_options, _params, { render }: { render: () => string }) => render(),
    })
  }

  has(key: string): boolean {
    return this.#lineByKey.has(key)
  }

  /** @returns false while the screen is full */
  add(key: string, render: () => string): boolean {
    if (this.#lineByKey.size >= this.#maxLines) return false
    this.#lineByKey.set(key, { bar: this.#bars.create(1, 0, { render }), render })
    return true
  }

  remove(key: string): void {
    const line = this.#lineByKey.get(key)
    if (line) this.#bars.remove(line.bar)
    this.#lineByKey.delete(key)
  }

  /** Leaves the last state of all lines there. */
  [Symbol.dispose](): void {
    if (!this.#bars.isActive) return
    this.#bars.stop()
    // not by cli-progress: it cuts its last picture at the width, and counts colours as characters
    for (const { render } of this.#lineByKey.values()) this.#output.stderr.write(`${render()}\n`)
  }
}
