import type {
  BlobProgress,
  ImageProgress,
  NodeProgress,
  ProgressEvent,
} from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { drawBar } from './bar.ts'
import { LiveLines } from './live-lines.ts'
import type { Output } from './output.ts'
import type { Progress } from './progress.ts'
import { RateMeter } from './rate-meter.ts'
import { printable } from './table.ts'
import { formatRate, percent, shortDigest, sourceShares } from './wording.ts'

/** What a line shows: the newest event of its subject. */
interface Row {
  readonly event: ProgressEvent
  readonly meter: RateMeter
}

const MAX_BAR_WIDTH = 32
const MIN_BAR_WIDTH = 8
/** columns that a line needs beside its bar */
const TEXT_WIDTH = 75
const NAME_WIDTH = 20
/** configs and manifests of this size are there at once: a bar would only flicker */
const SMALL_BYTES = 1024 * 1024

/** Live bars on a terminal: one for every image, large blob and node, as far as there are rows. */
export class TerminalProgress implements Progress {
  readonly #output: Output
  readonly #lines: LiveLines
  readonly #rowBySubject = new Map<string, Row>()

  constructor(output: Output) {
    this.#output = output
    this.#lines = new LiveLines(output)
  }

  report(event: ProgressEvent): void {
    if (event.type === 'blob' && event.role !== 'layer' && event.size < SMALL_BYTES) return
    const key = keyOf(event)
    const meter = this.#rowBySubject.get(key)?.meter ?? new RateMeter()
    this.#rowBySubject.set(key, { event, meter })
    if (event.type !== 'image') meter.add(event.done, performance.now())
    if (this.#lines.has(key)) return
    const render = () => this.#render(key)
    if (!this.#lines.add(key, render) && this.#dropEnded()) this.#lines.add(key, render)
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]()
  }

  /** Makes room: what has ended is dropped first. @returns whether there was something */
  #dropEnded(): boolean {
    for (const [key, { event }] of this.#rowBySubject) {
      const isOver = event.state === 'done' || event.state === 'kept'
      if (!isOver || !this.#lines.has(key)) continue
      this.#lines.remove(key)
      return true
    }
    return false
  }

  #render(key: string): string {
    const row = this.#rowBySubject.get(key)
    if (!row) return ''
    const { event, meter } = row
    if (event.type === 'image') return this.#renderImage(event)
    return this.#renderMoving(event, meter.bytesPerSecond(performance.now()))
  }

  #renderImage({ reference, state, message }: ImageProgress): string {
    const name = this.#coloured('bold', printable(reference))
    // the message of a failure is the error that ends the command
    const remark = message && state !== 'failed' ? `: ${printable(message)}` : ''
    return `${name}  ${this.#colouredState(state)}${remark}`
  }

  #renderMoving(event: BlobProgress | NodeProgress, bytesPerSecond: number): string {
    const columns = this.#output.stderr.columns ?? 80
    const width = Math.min(MAX_BAR_WIDTH, Math.max(MIN_BAR_WIDTH, columns - TEXT_WIDTH))
    const isMoving = event.state === 'moving'
    const share = event.size === 0 ? Number(event.state === 'done') : event.done / event.size
    return [
      `  ${fit(nameOf(event), NAME_WIDTH)}`,
      this.#coloured(event.state === 'failed' ? 'red' : 'cyan', drawBar(share, width)),
      percent(event.done, event.size).padStart(5),
      formatByteSize(event.size).padStart(9),
      (isMoving ? formatRate(bytesPerSecond) : event.state).padStart(11),
      ` ${remarkOf(event)}`,
    ].join(' ')
  }

  #colouredState(state: ImageProgress['state']): string {
    if (state === 'done') return this.#coloured('green', state)
    return state === 'failed' ? this.#coloured('red', state) : state
  }

  #coloured(colour: 'green' | 'red' | 'cyan' | 'bold', text: string): string {
    return this.#output.coloured(colour, text, this.#output.stderr)
  }
}

function keyOf(event: ProgressEvent): string {
  if (event.type === 'image') return `image ${event.reference}`
  if (event.type === 'node') return `node ${event.nodeId} ${event.address}`
  return `blob ${event.reference} ${event.digest}`
}

function nameOf(event: BlobProgress | NodeProgress): string {
  return event.type === 'node' ? event.nodeName : `${event.role} ${shortDigest(event.digest)}`
}

function remarkOf(event: BlobProgress | NodeProgress): string {
  if (event.type === 'node' && event.message !== undefined) return printable(event.message)
  return sourceShares(event.bytes)
}

function fit(text: string, width: number): string {
  const shown = printable(text)
  return shown.length > width ? `${shown.slice(0, width - 1)}…` : shown.padEnd(width)
}
