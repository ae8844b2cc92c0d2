import { MultiBar, type SingleBar } from 'cli-progress'

import type { Output } from './output.ts'

const FRAMES_PER_SECOND = 10

/** Lines at the foot of a terminal that are drawn again and again, each by its own function. */
export class LiveLines implements Disposable {
  readonly #bars: MultiBar
  readonly #barByKey = new Map<string, SingleBar>()
  readonly #maxLines: number

  constructor(output: Output) {
    this.#maxLines = Math.max(2, (output.stderr.rows ?? 24) - 2)
    this.#bars = new MultiBar({
      // a terminal, as whoever makes this has checked; of the full type only write and isTTY are used
      stream: output.stderr as NodeJS.WriteStream,
      fps: FRAMES_PER_SECOND,
      hideCursor: true,
      // without it a line that moved up is not drawn again
      forceRedraw: true,
      format: (_options, _params, { render }: { render: () => string }) => render(),
    })
  }

  has(key: string): boolean {
    return this.#barByKey.has(key)
  }

  /** @returns false while the screen is full */
  add(key: string, render: () => string): boolean {
    if (this.#barByKey.size >= this.#maxLines) return false
    this.#barByKey.set(key, this.#bars.create(1, 0, { render }))
    return true
  }

  remove(key: string): void {
    const bar = this.#barByKey.get(key)
    if (bar) this.#bars.remove(bar)
    this.#barByKey.delete(key)
  }

  /** Draws all lines once more and leaves them there. */
  [Symbol.dispose](): void {
    if (this.#bars.isActive) this.#bars.stop()
  }
}
