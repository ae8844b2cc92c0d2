import type { ControlLine, ProgressEvent } from './control-protocol.ts'

/** Movement is told at most this often; what people can follow. */
const INTERVAL_MS = 100

interface LineSink {
  /** @returns false when the reader is behind */
  write(line: string): boolean
  once(event: 'drain', listener: () => void): unknown
}

/**
 * Writes progress so that a busy node and a slow reader do no harm: of each image, blob and node only the newest
 * state waits, movement goes out in batches, and nothing goes out while the reader is behind.
 */
export class ProgressWriter implements Disposable {
  readonly #sink: LineSink
  readonly #newestBySubject = new Map<string, ProgressEvent>()
  #timer: NodeJS.Timeout | undefined
  #isBehind = false
  #isClosed = false

  constructor(sink: LineSink) {
    this.#sink = sink
  }

  report(event: ProgressEvent): void {
    if (this.#isClosed) return
    this.#newestBySubject.set(subjectOf(event), event)
    if (event.state !== 'moving') this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), INTERVAL_MS)
  }

  /** Writes what waits, unless the reader is behind; then it goes out when it has caught up. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#isBehind || this.#isClosed) return
    const waiting = [...this.#newestBySubject.values()]
    this.#newestBySubject.clear()
    this.#write(waiting)
  }

  /** Writes what waits and then `line`, the last one. */
  end(line: ControlLine): void {
    const waiting = [...this.#newestBySubject.values()]
    this[Symbol.dispose]()
    this.#write([...waiting, line])
  }

  /** Says that the node is alive, unless there is a queue that says so. */
  beat(): void {
    if (!this.#isBehind && !this.#isClosed) this.#write([{ type: 'alive' }])
  }

  [Symbol.dispose](): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#newestBySubject.clear()
  }

  #write(lines: readonly ControlLine[]): void {
    if (lines.length === 0) return
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    if (this.#sink.write(text) || this.#isBehind) return
    this.#isBehind = true
    this.#sink.once('drain', () => {
      this.#isBehind = false
      this.flush()
    })
  }
}

function subjectOf(event: ProgressEvent): string {
  if (event.type === 'node') return `node ${event.nodeId} ${event.address}`
  if (event.type === 'blob') return `blob ${event.reference} ${event.digest}`
  return `image ${event.reference}`
}
