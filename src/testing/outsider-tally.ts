import type { OutsiderReport, TriesOfKind } from './outsider-order.ts'

/** Counts what an outsider does, and what comes of it. */
export class OutsiderTally {
  readonly #kinds = new Map<string, TriesOfKind>()
  readonly #told: Buffer[] = []
  openedChannels = 0
  dialled = 0
  keptOpen = 0

  /** One try of a kind, and the bytes that came back for it. */
  add(kind: string, bytes: number): void {
    const counts = this.of(kind)
    counts.tries += 1
    this.heard(kind, bytes)
  }

  /** Bytes that came back for a try that was counted. */
  heard(kind: string, bytes: number): void {
    const counts = this.of(kind)
    if (bytes > 0) counts.answered += 1
    counts.bytes += bytes
  }

  /** What was said inside of an encrypted channel. */
  tell(bytes: Buffer): void {
    this.#told.push(bytes)
  }

  of(kind: string): TriesOfKind {
    const counts = this.#kinds.get(kind) ?? { tries: 0, answered: 0, bytes: 0 }
    this.#kinds.set(kind, counts)
    return counts
  }

  report(ms: number): OutsiderReport {
    const { openedChannels, dialled, keptOpen } = this
    const told = Buffer.concat(this.#told).toString('base64')
    return {
      kinds: Object.fromEntries(this.#kinds),
      openedChannels,
      dialled,
      keptOpen,
      told,
      ms: Math.round(ms),
    }
  }
}
