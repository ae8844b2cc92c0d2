import { MultiBar, type SingleBar } from 'cli-progress'

import type {
  BlobProgress,
  ImageProgress,
  NodeProgress,
  ProgressEvent,
} from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import type { Output } from './output.ts'
import type { Progress } from './progress.ts'
import { RateMeter } from './rate-meter.ts'
import { printable } from './table.ts'
import { formatRate, percent, shortDigest, sourceShares } from './wording.ts'

/** What a bar shows: the newest event of its subject. */
interface Row {
  readonly event: ProgressEvent
  readonly meter: RateMeter
  readonly bar: SingleBar
}

const FRAMES_PER_SECOND = 10
const MAX_BAR_WIDTH = 32
const MIN_BAR_WIDTH = 8
/** columns that a line needs beside its bar */
const TEXT_WIDTH = 70
const NAME_WIDTH = 20
/** configs and manifests of this size are there at once: a bar would only flicker */
const SMALL_BYTES = 1024 * 1024

/** Live bars on a terminal: one for every image, large blob and node, as far as there are rows. */
export class TerminalProgress implements Progress {
  readonly #output: Output
  readonly #bars: MultiBar
  readonly #rowBySubject = new Map<string, Row>()

  constructor(output: Output) {
    this.#output = output
    this.#bars = new MultiBar({
      // a terminal by the check of who made this; cli-progress wants the full type and uses write and isTTY
      stream: output.stderr as NodeJS.WriteStream,
      fps: FRAMES_PER_SECOND,
      hideCursor: true,
      // without it a bar that moved up a line is not drawn again
      forceRedraw: true,
      emptyOnZero: true,
      format: (_, __, subject: { key: string }) => this.#render(subject.key),
    })
  }

  report(event: ProgressEvent): void {
    if (event.type === 'blob' && event.role !== 'layer' && event.size < SMALL_BYTES) return
    const key = keyOf(event)
    const row = this.#rowBySubject.get(key) ?? this.#makeRow(key, event)
    if (!row) return
    this.#rowBySubject.set(key, { ...row, event })
    if (event.type !== 'image') row.meter.add(event.done, performance.now())
  }

  [Symbol.dispose](): void {
    if (this.#bars.isActive) this.#bars.stop()
  }

  /** @returns undefined while the screen is full of what has not ended */
  #makeRow(key: string, event: ProgressEvent): Row | undefined {
    const maxRows = Math.max(2, (this.#output.stderr.rows ?? 24) - 2)
    if (this.#rowBySubject.size >= maxRows && !this.#dropEnded()) return undefined
    // before the bar: it is drawn as soon as it is made
    const meter = new RateMeter()
    const bar = this.#bars.create(1, 0, { key })
    return { event, meter, bar }
  }

  #dropEnded(): boolean {
    for (const [key, { event, bar }] of this.#rowBySubject) {
      if (event.state !== 'done' && event.state !== 'kept') continue
      this.#rowBySubject.delete(key)
      this.#bars.remove(bar)
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
    return `${name}  ${this.#colouredState(state)}${message ? `: ${printable(message)}` : ''}`
  }

  #renderMoving(event: BlobProgress | NodeProgress, bytesPerSecond: number): string {
    const columns = this.#output.stderr.columns ?? 80
    const width = Math.min(MAX_BAR_WIDTH, Math.max(MIN_BAR_WIDTH, columns - TEXT_WIDTH))
    const isOver = event.state !== 'moving' && event.state !== 'loading'
    const share = event.size === 0 ? Number(isOver) : event.done / event.size
    return [
      `  ${fit(nameOf(event), NAME_WIDTH)}`,
      this.#coloured(event.state === 'failed' ? 'red' : 'cyan', drawBar(share, width)),
      percent(event.done, event.size).padStart(5),
      formatByteSize(event.size).padStart(9),
      (isOver ? event.state : formatRate(bytesPerSecond)).padStart(12),
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

/** A line that fills from the left, in steps of half a character. */
export function drawBar(share: number, width: number): string {
  const halves = Math.round(Math.min(1, Math.max(0, share)) * width * 2)
  const full = Math.floor(halves / 2)
  return `${'━'.repeat(full)}${halves % 2 === 1 ? '╸' : ''}`.padEnd(width, '┄')
}

function fit(text: string, width: number): string {
  const shown = printable(text)
  return shown.length > width ? `${shown.slice(0, width - 1)}…` : shown.padEnd(width)
}
