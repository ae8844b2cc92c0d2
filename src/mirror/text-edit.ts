/**
 * Changes to a file that somebody else owns: pieces put in between, never a rewrite. Each piece is remembered
 * with what stood around it, so that it can be taken out again even after the file was edited.
 */

/** A piece to put into a text. */
export interface Insertion {
  /** where in the text as it is */
  readonly offset: number
  readonly text: string
}

/** A piece as it stands in a file, with what stood on both sides. */
export interface Inserted {
  readonly before: string
  readonly text: string
  readonly after: string
}

/** What is left of a text without our pieces. */
export interface Stripped {
  readonly text: string
  /** every piece was found as it was put in */
  readonly isComplete: boolean
}

const CONTEXT_CHARS = 40

/** The text with all pieces in place. */
export function insertAll(text: string, insertions: readonly Insertion[]): string {
  const latestFirst = [...insertions].sort((one, other) => other.offset - one.offset)
  return latestFirst.reduce(
    (result, { offset, text: piece }) => result.slice(0, offset) + piece + result.slice(offset),
    text,
  )
}

/** What to remember of the pieces; `text` is what they went into. */
export function rememberAll(text: string, insertions: readonly Insertion[]): Inserted[] {
  return insertions.map(({ offset, text: piece }) => ({
    before: text.slice(Math.max(0, offset - CONTEXT_CHARS), offset),
    text: piece,
    after: text.slice(offset, offset + CONTEXT_CHARS),
  }))
}

/** Takes the pieces out again, wherever they are now. */
export function stripAll(text: string, pieces: readonly Inserted[]): Stripped {
  let left = text
  let isComplete = true
  for (const piece of pieces) {
    const offset = findPiece(left, piece)
    if (offset === undefined) isComplete = false
    else left = left.slice(0, offset) + left.slice(offset + piece.text.length)
  }
  return { text: left, isComplete }
}

/** With its surroundings, with one of them, or alone where it is there once: a short piece may occur by chance. */
function findPiece(text: string, { before, text: piece, after }: Inserted): number | undefined {
  for (const [left, right] of [
    [before, after],
    [before, ''],
    ['', after],
    ['', ''],
  ] as const) {
    const wanted = left + piece + right
    const at = text.indexOf(wanted)
    if (at >= 0 && text.indexOf(wanted, at + 1) < 0) return at + left.length
  }
  return undefined
}

/** How lines of this text end. */
export function lineEndOf(text: string): '\n' | '\r\n' {
  return text.includes('\r\n') ? '\r\n' : '\n'
}
