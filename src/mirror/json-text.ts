/** Where things stand in a JSON text that JSON.parse has accepted: offsets, for changes that keep every other byte. */

/** A value in a list. */
interface JsonElement {
  readonly start: number
  readonly end: number
  readonly value: unknown
}

/** A member of the outermost object. */
export interface JsonMember {
  /** of the key's quote */
  readonly start: number
  readonly valueStart: number
  /** behind the value */
  readonly end: number
  /** of a list, in order */
  readonly elements: readonly JsonElement[]
}

const SPACE = /\s*/y
const SCALAR = /"(?:[^"\\]|\\.)*"|[^\s,\]}]+/y

/** The first member of that name; undefined where there is none. `text` is valid JSON. */
export function findMember(text: string, name: string): JsonMember | undefined {
  let at = skipSpace(text, text.indexOf('{') + 1)
  while (text[at] === '"') {
    const keyEnd = endOfValue(text, at)
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1)
    const end = endOfValue(text, valueStart)
    if (JSON.parse(text.slice(at, keyEnd)) === name) {
      return { start: at, valueStart, end, elements: elementsOf(text, valueStart) }
    }
    at = skipSpace(text, end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return undefined
}

function elementsOf(text: string, listStart: number): JsonElement[] {
  const elements: JsonElement[] = []
  if (text[listStart] !== '[') return elements
  let at = skipSpace(text, listStart + 1)
  while (at < text.length && text[at] !== ']') {
    const end = endOfValue(text, at)
    elements.push({ start: at, end, value: JSON.parse(text.slice(at, end)) })
    at = skipSpace(text, end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return elements
}

/** Behind the value that begins at `start`: brackets are counted, those in texts are not. */
function endOfValue(text: string, start: number): number {
  let depth = 0
  let at = start
  do {
    at = skipSpace(text, at)
    const character = text[at] ?? ''
    if (character === '{' || character === '[') depth++
    if (character === '}' || character === ']') depth--
    if ('{}[],:'.includes(character)) at++
    else at = endOfScalar(text, at)
  } while (depth > 0 && at < text.length)
  return at
}

function endOfScalar(text: string, start: number): number {
  SCALAR.lastIndex = start
  return SCALAR.test(text) ? SCALAR.lastIndex : start + 1
}

function skipSpace(text: string, start: number): number {
  SPACE.lastIndex = start
  SPACE.test(text)
  return SPACE.lastIndex
}
