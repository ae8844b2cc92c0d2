import type { SeededRandom } from '../seeded-random.ts'
import type { Grammar, Span } from './grammars.ts'

interface Seed {
  readonly text: string
  readonly spans: readonly Span[]
}

// Kept inputs beyond these take the place of older ones; what the mutator was made with stays.
const MAX_KEPT = 400
const MAX_SEED_LENGTH = 4000
const MAX_LENGTH = 64 * 1024
const ALPHABET_SIZE = 256

/**
 * Makes inputs that are nearly right: a few changes to a message that is, or to one of its values. What a parser
 * took in a new way can be kept as a seed, so that changes add up where they lead somewhere.
 */
export class Mutator {
  readonly #random: SeededRandom
  readonly #grammar: Grammar
  readonly #given: readonly Seed[]
  readonly #kept: Seed[] = []
  #keptCount = 0

  constructor(random: SeededRandom, grammar: Grammar, seeds: readonly string[]) {
    this.#random = random
    this.#grammar = grammar
    this.#given = seeds.map((text) => this.#seed(text))
  }

  /** The next input. One in forty is a seed as it is. */
  next(): string {
    const random = this.#random
    const seed = this.#pick()
    let { text } = seed
    let spans = seed.spans
    for (let changes = changeCount(random); changes > 0; changes -= 1) {
      const isRaw = spans.length === 0 || random.below(100) < this.#grammar.rawPercent
      text = isRaw ? this.#changeAnywhere(text) : this.#changeValue(text, spans)
      // Where values lie is not known any more, but what comes before the change is where it was.
      if (changes > 1) spans = spans.filter(({ end }) => end <= text.length)
    }
    return text.length > MAX_LENGTH ? text.slice(0, MAX_LENGTH) : text
  }

  /** Goes on from this input as well. */
  keep(text: string): void {
    if (text.length > MAX_SEED_LENGTH) return
    this.#kept[this.#keptCount % MAX_KEPT] = this.#seed(text)
    this.#keptCount += 1
  }

  get keptCount(): number {
    return this.#keptCount
  }

  #seed(text: string): Seed {
    return { text, spans: this.#grammar.spansOf(text) }
  }

  #pick(): Seed {
    const random = this.#random
    const isKept = this.#kept.length > 0 && random.below(2) === 0
    return random.pick(isKept ? this.#kept : this.#given)
  }

  #changeValue(text: string, spans: readonly Span[]): string {
    const random = this.#random
    const { splinters, joiner, nests } = this.#grammar
    const { start, end } = random.pick(spans)
    const [before, value, after] = [text.slice(0, start), text.slice(start, end), text.slice(end)]
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return before + random.pick(splinters) + after
      case 4:
        return before + this.#valueOfAnother() + after
      case 5:
        return before + value + joiner + value + after
      case 6:
        return before + value + joiner + random.pick(splinters) + after
      case 7:
        return without(before, after, joiner)
      case 8:
        return before + otherNumber(value, random) + after
      case 9:
        return before + this.#changeAnywhere(value) + after
      case 10:
        return before + this.#nested(value, nests) + after
      default:
        return random.below(60) === 0 ? this.#repeated(before, value, after) : before + value
    }
  }

  #nested(value: string, nests: Grammar['nests']): string {
    const random = this.#random
    const [left, right] = random.pick(nests)
    const times = random.below(300) === 0 ? random.below(30_000) : 1 + random.below(8)
    return left.repeat(times) + value + right.repeat(times)
  }

  /** Many values where there was one: lists and dictionaries of any size. */
  #repeated(before: string, value: string, after: string): string {
    const times = 2 + this.#random.below(Math.min(1500, Math.ceil(30_000 / (value.length + 1))))
    return before + (value + this.#grammar.joiner).repeat(times) + value + after
  }

  #valueOfAnother(): string {
    const { text, spans } = this.#pick()
    if (spans.length === 0) return text
    const { start, end } = this.#random.pick(spans)
    return text.slice(start, end)
  }

  #changeAnywhere(text: string): string {
    const random = this.#random
    const at = random.below(text.length + 1)
    const before = text.slice(0, at)
    switch (random.below(6)) {
      case 0:
        return before + flipped(text.charCodeAt(at), random) + text.slice(at + 1)
      case 1:
        return before + String.fromCharCode(random.below(ALPHABET_SIZE)) + text.slice(at + 1)
      case 2:
        return before + String.fromCharCode(random.below(ALPHABET_SIZE)) + text.slice(at)
      case 3:
        return before + text.slice(at + 1 + random.below(16))
      case 4:
        return before + text.slice(random.below(text.length + 1))
      default:
        return random.below(3) === 0
          ? before
          : before + random.pick(this.#grammar.splinters) + text.slice(at)
    }
  }
}

/** Mostly one: with many changes nothing gets past the first check. */
function changeCount(random: SeededRandom): number {
  const roll = random.below(40)
  if (roll < 24) return 1
  if (roll < 32) return 2
  return [3, 3, 3, 4, 4, 6, 12, 0][roll - 32] ?? 1
}

/** Leaves a value out, and with it one separator. */
function without(before: string, after: string, joiner: string): string {
  if (joiner !== '' && after.startsWith(joiner)) return before + after.slice(joiner.length)
  if (joiner !== '' && before.endsWith(joiner)) return before.slice(0, -joiner.length) + after
  return before + after
}

/** Another number where one stands first in a value: a length that lies, the edge of a range. */
function otherNumber(value: string, random: SeededRandom): string {
  const found = /-?\d+/.exec(value)
  if (!found) return value.slice(0, random.below(value.length + 1))
  const number = Number(found[0])
  const other = [
    number + 1,
    number - 1,
    -number,
    number * 2,
    2 ** random.below(64),
    random.below(300),
  ]
  return (
    value.slice(0, found.index) +
    String(random.pick(other)) +
    value.slice(found.index + found[0].length)
  )
}

function flipped(code: number, random: SeededRandom): string {
  return String.fromCharCode((Number.isNaN(code) ? 0 : code) ^ (1 << random.below(8)))
}
