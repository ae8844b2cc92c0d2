import { formatByteSize } from '../support/byte-size.ts'
import { drawBar } from './bar.ts'
import { LiveLines } from './live-lines.ts'
import type { Output } from './output.ts'
import { RateMeter } from './rate-meter.ts'
import { renderTable } from './table.ts'
import { formatRate, percent } from './wording.ts'

/** How far a node that pulls is, and from whom it has what. */
export interface PullerState {
  readonly name: string
  /** bytes */
  readonly size: number
  readonly done: number
  readonly bytesBySender: ReadonlyMap<string, number>
  readonly layers: readonly LayerState[]
}

/** The same of one layer. */
export interface LayerState {
  readonly digest: string
  readonly size: number
  readonly done: number
  readonly bytesBySender: ReadonlyMap<string, number>
}

/** Shows two nodes pulling. */
export interface DemoView extends Disposable {
  show(states: readonly PullerState[]): void
  /** Something happened: a line that stays. */
  tell(text: string): void
}

const BAR_WIDTH = 28
const NAME_WIDTH = 6
const STEP_PERCENT = 25

/** Bars on a terminal, a line per quarter elsewhere. */
export function openDemoView(output: Output): DemoView {
  if (output.isQuiet) return silentView()
  return output.stderr.isTTY === true ? new TerminalView(output) : new LineView(output)
}

function silentView(): DemoView {
  const nothing = () => undefined
  return { show: nothing, tell: nothing, [Symbol.dispose]: nothing }
}

class TerminalView implements DemoView {
  readonly #output: Output
  readonly #lines: LiveLines
  readonly #stateByName = new Map<string, PullerState>()
  readonly #meterByName = new Map<string, RateMeter>()

  constructor(output: Output) {
    this.#output = output
    this.#lines = new LiveLines(output)
  }

  show(states: readonly PullerState[]): void {
    for (const state of states) {
      const meter = this.#meterByName.get(state.name) ?? new RateMeter()
      meter.add(state.done, performance.now())
      this.#meterByName.set(state.name, meter)
      this.#stateByName.set(state.name, state)
      if (!this.#lines.has(state.name)) this.#lines.add(state.name, () => this.#render(state.name))
    }
  }

  tell(text: string): void {
    this.#lines.add(`text ${text}`, () => text)
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]()
  }

  #render(name: string): string {
    const state = this.#stateByName.get(name)
    const rate = this.#meterByName.get(name)?.bytesPerSecond(performance.now()) ?? 0
    if (!state) return ''
    const { size, done } = state
    const bar = this.#output.coloured('cyan', drawBar(done / size, BAR_WIDTH), this.#output.stderr)
    const speed = done >= size ? 'done' : formatRate(rate)
    const columns = [percent(done, size).padStart(5), speed.padStart(11)]
    return `   ${name.padEnd(NAME_WIDTH)}${bar} ${columns.join(' ')}   ${describeSenders(state)}`
  }
}

class LineView implements DemoView {
  readonly #output: Output
  readonly #stepByName = new Map<string, number>()

  constructor(output: Output) {
    this.#output = output
  }

  show(states: readonly PullerState[]): void {
    for (const state of states) {
      const { name, size, done } = state
      const step = Math.floor((100 * done) / size / STEP_PERCENT)
      if (step <= (this.#stepByName.get(name) ?? 0)) continue
      this.#stepByName.set(name, step)
      const share = percent(done, size).padStart(5)
      this.#output.note(`   ${name.padEnd(NAME_WIDTH)}${share}   ${describeSenders(state)}`)
    }
  }

  tell(text: string): void {
    this.#output.note(text)
  }

  [Symbol.dispose](): void {
    this.#stepByName.clear()
  }
}

function describeSenders({ bytesBySender }: PullerState): string {
  const parts = [...bytesBySender].map(([sender, bytes]) => `${sender} ${formatByteSize(bytes)}`)
  return parts.length === 0 ? '' : `from ${parts.join(', ')}`
}

/** Who sent what to whom: a row for each receiver, a column for each sender. */
export function renderExchange(senders: readonly string[], states: readonly PullerState[]): string {
  const sum = (amounts: readonly number[]) => amounts.reduce((total, bytes) => total + bytes, 0)
  const sentTo = ({ bytesBySender }: PullerState) =>
    senders.map((sender) => bytesBySender.get(sender) ?? 0)
  const cells = (amounts: readonly number[]) =>
    [...amounts, sum(amounts)].map((bytes) => (bytes === 0 ? '-' : formatByteSize(bytes)))
  const totals = senders.map((_, index) => sum(states.map((state) => sentTo(state)[index] ?? 0)))
  return renderTable(
    [
      { title: 'received by' },
      ...senders.map((sender) => ({ title: `from ${sender}`, align: 'right' as const })),
      { title: 'in all', align: 'right' },
    ],
    [...states.map((state) => [state.name, ...cells(sentTo(state))]), ['in all', ...cells(totals)]],
  )
}
