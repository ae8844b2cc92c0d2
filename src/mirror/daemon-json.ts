/**
 * daemon.json of Docker. Only the classic store is given `registry-mirrors`: with the containerd store a mirror
 * over plain HTTP would switch off the check of docker.io's own certificate (moby, daemon/hosts.go).
 */
import { isDeepStrictEqual } from 'node:util'

import { messageOf, OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { findMember, type JsonMember } from './json-text.ts'
import { insertAll, lineEndOf, type Insertion } from './text-edit.ts'

/** What daemon.json says that matters here. */
export interface DaemonSettings {
  readonly mirrors: readonly string[]
  readonly insecureRegistries: readonly string[]
  readonly dataRoot: string
  /** undefined: not said */
  readonly isContainerdStore: boolean | undefined
}

const MIRRORS = 'registry-mirrors'
const DATA_ROOT = '/var/lib/docker'

/**
 * Reads daemon.json; an empty or absent one says nothing.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function readDaemonSettings(text: string | undefined, path: string): DaemonSettings {
  const settings = parseDaemonJson(text ?? '', path)
  const features = asRecord(settings['features'])?.['containerd-snapshotter']
  const dataRoot = settings['data-root'] ?? settings['graph']
  return {
    mirrors: texts(settings[MIRRORS]).map(withoutSlash),
    insecureRegistries: texts(settings['insecure-registries']),
    dataRoot: typeof dataRoot === 'string' && dataRoot !== '' ? dataRoot : DATA_ROOT,
    isContainerdStore: typeof features === 'boolean' ? features : undefined,
  }
}

/**
 * Puts the node in front of the mirrors for docker.io.
 * @param options.mirror `http://127.0.0.1:5151`
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function addRegistryMirror(
  text: string | undefined,
  { mirror, path }: { mirror: string; path: string },
): readonly Insertion[] {
  const before = parseDaemonJson(text ?? '', path)
  const mirrors = before[MIRRORS] ?? []
  if (!Array.isArray(mirrors)) throw notJson(path, `"${MIRRORS}" that is no list`)
  if (texts(mirrors).map(withoutSlash)[0] === mirror) return []
  if (texts(mirrors).map(withoutSlash).includes(mirror)) {
    throw notJson(path, `${mirror} behind another mirror`)
  }
  const insertions = [insertionFor(text ?? '', mirror)]
  const after = parseDaemonJson(insertAll(text ?? '', insertions), path)
  if (!isDeepStrictEqual(after, { ...before, [MIRRORS]: [mirror, ...(mirrors as unknown[])] })) {
    throw notJson(path, 'a key that is there twice')
  }
  return insertions
}

/** Takes a mirror out of a daemon.json that was rewritten since; the list goes with its last mirror. */
export function removeRegistryMirror(text: string, mirror: string): string {
  const member = findMember(text, MIRRORS)
  const elements = member?.elements ?? []
  const at = elements.findIndex(({ value }) => value === mirror || value === `${mirror}/`)
  const element = elements[at]
  if (!member || !element) return text
  if (elements.length === 1) return withoutMember(text, member)
  const [from, to] =
    at === 0
      ? [element.start, elements[1]?.start ?? element.end]
      : [elements[at - 1]?.end ?? element.start, element.end]
  return text.slice(0, from) + text.slice(to)
}

function insertionFor(text: string, mirror: string): Insertion {
  const eol = lineEndOf(text)
  if (text.trim() === '') {
    return { offset: text.length, text: `{${eol}  "${MIRRORS}": ["${mirror}"]${eol}}${eol}` }
  }
  const listed = findMember(text, MIRRORS)
  if (listed) {
    const isEmpty = listed.elements.length === 0
    // between the elements as the user parts them
    const gap = /^\s*/.exec(text.slice(listed.valueStart + 1))?.[0] ?? ''
    const separator = gap.includes('\n') ? gap : ' '
    const offset = listed.elements[0]?.start ?? listed.valueStart + 1
    return { offset, text: `"${mirror}"${isEmpty ? '' : `,${separator}`}` }
  }
  const offset = text.indexOf('{') + 1
  const inner = text.slice(offset)
  const gap = /^\s*/.exec(inner)?.[0] ?? ''
  const isEmpty = inner.trimStart().startsWith('}')
  const lead = isEmpty && gap.includes('\n') ? `${eol}  ` : isEmpty ? '' : gap
  return { offset, text: `${lead}"${MIRRORS}": ["${mirror}"]${isEmpty ? '' : ','}` }
}

/** The member and the comma that parts it from its neighbour. */
function withoutMember(text: string, { start, end }: JsonMember): string {
  const before = text.slice(0, start)
  const after = text.slice(end)
  if (/^\s*,/.test(after)) return before + after.replace(/^\s*,\s*/, '')
  return before.replace(/,?\s*$/, '') + after
}

function parseDaemonJson(text: string, path: string): Readonly<Record<string, unknown>> {
  if (text.trim() === '') return {}
  let settings: unknown
  try {
    settings = JSON.parse(text)
  } catch (cause) {
    throw notJson(path, messageOf(cause))
  }
  const record = asRecord(settings)
  if (!record || Array.isArray(settings)) throw notJson(path, 'JSON that is no object')
  return record
}

function notJson(path: string, found: string): OperationError {
  const message = `${path}: wanted a JSON object that Docker can read, found ${found}`
  return new OperationError('MIRROR_FILE_INVALID', message)
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}

function withoutSlash(url: string): string {
  return url.replace(/\/$/, '')
}
