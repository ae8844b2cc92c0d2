/** What of a file is the user's, and what is ours. */
import { removeRegistryMirror } from './daemon-json.ts'
import { mirrorUrl } from './engine-plan.ts'
import type { HostFile } from './host-tree.ts'
import { hashOf, type RecordedFile } from './mirror-record.ts'
import { stripAll } from './text-edit.ts'
import { headersOf } from './toml-file.ts'

/** A file as it would be without us. */
export interface UserPart {
  /** undefined: there would be none */
  readonly file: HostFile | undefined
  /** somebody changed it since it was written */
  readonly isEdited: boolean
  /** our part could be told from the rest */
  readonly isComplete: boolean
}

/**
 * The file as the user has it: as it was before, or, where somebody edited it since, with our pieces taken out.
 * @param current as it is now
 * @param recorded undefined where it was never written
 */
export function userPart(
  current: HostFile | undefined,
  recorded: RecordedFile | undefined,
): UserPart {
  const untouched = { isEdited: false, isComplete: true }
  if (!recorded) return { file: current, ...untouched }
  if (!current) return { file: undefined, isEdited: recorded.original !== null, isComplete: true }
  if (hashOf(current.text) === recorded.written) {
    return { file: recorded.original ?? undefined, ...untouched }
  }
  // written down, and then not done
  if (current.text === recorded.original?.text) return { file: current, ...untouched }
  const { text, isComplete } = withoutUs(current.text, recorded)
  const isNothing = recorded.original === null && isBlank(text)
  return { file: isNothing ? undefined : { ...current, text }, isEdited: true, isComplete }
}

function withoutUs(
  text: string,
  { kind, address, pieces }: RecordedFile,
): { text: string; isComplete: boolean } {
  const stripped = stripAll(text, pieces)
  if (stripped.isComplete) return stripped
  const mirror = mirrorUrl(address)
  const left =
    kind === 'daemon.json'
      ? withoutMirrorIfJson(text, mirror)
      : kind === 'hosts.toml'
        ? withoutTable(text, ['host', mirror])
        : text
  return { text: left, isComplete: !left.includes(address) }
}

function withoutMirrorIfJson(text: string, mirror: string): string {
  try {
    JSON.parse(text)
  } catch {
    return text
  }
  return removeRegistryMirror(text, mirror)
}

/** Without a table and those inside it, and without our word above it. */
function withoutTable(text: string, names: readonly string[]): string {
  const headers = headersOf(text)
  const isInside = (candidate: readonly string[]) =>
    names.every((name, at) => candidate[at] === name)
  const first = headers.findIndex((header) => isInside(header.names))
  const start = headers[first]?.offset
  if (start === undefined) return text
  const next = headers.slice(first).find((header) => !isInside(header.names))
  const before = text.slice(0, start).replace(/# ddocker: asked first\r?\n$/, '')
  return before + (next ? text.slice(next.offset) : '')
}

/** Nothing but blanks and comments. */
function isBlank(text: string): boolean {
  return text.split('\n').every((line) => /^\s*(?:#.*)?$/.test(line))
}
