import { parse } from 'smol-toml'

import { messageOf, OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import type { Insertion } from './text-edit.ts'

/** A TOML document, parsed. */
export type TomlTable = Readonly<Record<string, unknown>>

/** A line `[a."b.c".d]` and the names in it. */
export interface TomlHeader {
  /** where its line begins */
  readonly offset: number
  /** where the next line begins */
  readonly end: number
  readonly names: readonly string[]
}

const HEADER_LINE = /^[ \t]*(\[[^\r\n]*\])[ \t]*(?:#[^\r\n]*)?(?:\r?\n|$)/gm

/**
 * Reads a file of an engine.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function parseToml(text: string, path: string): TomlTable {
  try {
    return parse(text)
  } catch (cause) {
    // the first line says what is wrong; a drawing of the place follows
    const [why = ''] = messageOf(cause).replace('Invalid TOML document: ', '').split('\n')
    const { line } = cause as { line?: unknown }
    const where = typeof line === 'number' ? ` in line ${line}` : ''
    throw new OperationError('MIRROR_FILE_INVALID', `${path}: wanted TOML, found: ${why}${where}`, {
      cause,
    })
  }
}

/** What stands under these names, if it is a table. */
export function tableAt(table: TomlTable, names: readonly string[]): TomlTable | undefined {
  let found: TomlTable | undefined = table
  for (const name of names) found = asRecord(found?.[name])
  return found
}

/** The headers of tables, in order. A line inside a multi-line text may look like one: prove what is made of it. */
export function headersOf(text: string): TomlHeader[] {
  return [...text.matchAll(HEADER_LINE)].flatMap((line) => {
    const names = namesIn(line[1] ?? '')
    return names ? [{ offset: line.index, end: line.index + line[0].length, names }] : []
  })
}

/** The header of this very table. */
export function headerOf(text: string, names: readonly string[]): TomlHeader | undefined {
  return headersOf(text).find((header) => JSON.stringify(header.names) === JSON.stringify(names))
}

/**
 * The first of several ways to put pieces in that makes a document of which `isWanted` is true.
 * @throws OperationError MIRROR_FILE_INVALID: none does, the file is written in a way that we do not know
 */
export function firstThatParses(
  candidates: readonly (readonly Insertion[])[],
  {
    apply,
    isWanted,
    path,
  }: {
    apply: (insertions: readonly Insertion[]) => string
    isWanted: (table: TomlTable) => boolean
    path: string
  },
): readonly Insertion[] {
  for (const insertions of candidates) {
    if (holds(apply(insertions), isWanted)) return insertions
  }
  throw new OperationError(
    'MIRROR_FILE_INVALID',
    `${path}: wanted tables in the form [name], found a way of writing that cannot be added to`,
  )
}

function holds(text: string, isWanted: (table: TomlTable) => boolean): boolean {
  try {
    return isWanted(parse(text))
  } catch {
    return false
  }
}

function namesIn(header: string): string[] | undefined {
  try {
    return namesOf(parse(header))
  } catch {
    return undefined
  }
}

/** `{a: {b: {}}}` is `a`, `b`; an array of tables `[[a]]` is `a`. */
function namesOf(table: unknown): string[] {
  const inner: unknown = Array.isArray(table) ? table[0] : table
  const [entry] = Object.entries(asRecord(inner) ?? {})
  return entry ? [entry[0], ...namesOf(entry[1])] : []
}
