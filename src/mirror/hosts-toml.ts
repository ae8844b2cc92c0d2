/**
 * hosts.toml of containerd and of Docker's containerd store (containerd, docs/hosts.md): which hosts are asked for
 * the images of a registry, in file order; without `server` the registry itself is the last.
 */
import { stringify } from 'smol-toml'

import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { insertAll, lineEndOf, type Insertion } from './text-edit.ts'
import { firstThatParses, headersOf, parseToml, type TomlTable } from './toml-file.ts'

/** What a folder without hosts.toml means, to be kept when it gets one. */
export interface HostsFolder {
  /** file names of authorities, `*.crt` */
  readonly authorities: readonly string[]
  /** file names of client certificates and their keys */
  readonly clientPairs: readonly (readonly [string, string])[]
  /** a registry that may be asked without TLS, or with a certificate that nobody vouches for: host:port */
  readonly insecureHost?: string
}

const CAPABILITIES = ['pull', 'resolve']

/**
 * Puts the node in front of the hosts of a file.
 * @param text undefined where there is none yet
 * @param options.mirror `http://127.0.0.1:5151`
 * @returns nothing where the node stands in front already
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function addMirrorHost(
  text: string | undefined,
  { mirror, folder, path }: { mirror: string; folder?: HostsFolder; path: string },
): readonly Insertion[] {
  if (text === undefined) return [{ offset: 0, text: newFile(mirror, folder) }]
  const before = parseToml(text, path)
  if (isMirrorFirst(before, mirror)) return []
  if (hostsIn(before).includes(mirror)) throw standsElsewhere(path, mirror)
  const candidates = [...headersOf(text).map(({ offset }) => offset), text.length].map((offset) => [
    { offset, text: block(text, offset, mirror) },
  ])
  return firstThatParses(candidates, {
    apply: (insertions) => insertAll(text, insertions),
    isWanted: (after) => isMirrorFirst(after, mirror) && hasKept(before, after, mirror),
    path,
  })
}

/** Whether the node is asked before others, for pulls and for tags. */
export function isMirrorFirst(table: TomlTable, mirror: string): boolean {
  const [first] = Object.entries(asRecord(table['host']) ?? {})
  if (!first || withoutSlash(first[0]) !== mirror) return false
  return missingCapabilities(table, mirror).length === 0
}

/** What the node may not be asked for, by the file. */
export function missingCapabilities(table: TomlTable, mirror: string): string[] {
  const hosts = Object.entries(asRecord(table['host']) ?? {})
  const found = hosts.find(([host]) => withoutSlash(host) === mirror)
  const capabilities = asRecord(found?.[1])?.['capabilities'] ?? CAPABILITIES
  return CAPABILITIES.filter(
    (capability) => !Array.isArray(capabilities) || !capabilities.includes(capability),
  )
}

/** The hosts of a file, in the order in which they are asked. */
export function hostsIn(table: TomlTable): string[] {
  return Object.keys(asRecord(table['host']) ?? {}).map(withoutSlash)
}

function standsElsewhere(path: string, mirror: string): OperationError {
  return new OperationError(
    'MIRROR_FILE_INVALID',
    `${path}: wanted ${mirror} as the first host, with pull and resolve; found it otherwise`,
  )
}

function newFile(mirror: string, folder: HostsFolder | undefined): string {
  const own = folder ? keptSettings(folder) : {}
  const settings = Object.keys(own).length > 0 ? `${stringify(own)}\n` : ''
  return `# Written by \`ddocker mirror install\`; \`ddocker mirror remove\` takes it away.\n${settings}${table(mirror)}`
}

/** Without hosts.toml the files of the folder count by themselves, with one they must be named. */
function keptSettings({ authorities, clientPairs, insecureHost }: HostsFolder): TomlTable {
  return {
    // http with skip_verify: TLS first, plain HTTP where there is none, as insecure-registries means it
    ...(insecureHost !== undefined && { server: `http://${insecureHost}`, skip_verify: true }),
    ...(authorities.length > 0 && { ca: authorities }),
    ...(clientPairs.length > 0 && { client: clientPairs }),
  }
}

function table(mirror: string): string {
  return `[host.${JSON.stringify(mirror)}]\n  capabilities = ["pull", "resolve"]\n`
}

function block(text: string, offset: number, mirror: string): string {
  const isAfterLine = offset === 0 || text[offset - 1] === '\n'
  const lines = `${isAfterLine ? '' : '\n'}# ddocker: asked first\n${table(mirror)}${offset < text.length ? '\n' : ''}`
  return lines.replaceAll('\n', lineEndOf(text))
}

/** Nothing but our own host is new or different. */
function hasKept(before: TomlTable, after: TomlTable, mirror: string): boolean {
  const { [mirror]: _, ...otherHosts } = asRecord(after['host']) ?? {}
  const { host: _hosts, ...rest } = after
  const kept = 'host' in before ? { ...rest, host: otherHosts } : rest
  return sorted(kept) === sorted(before)
}

function sorted(table: TomlTable): string {
  const { host, ...rest } = table
  // the order of the hosts is meaning, that of the keys is not
  return stringify({
    ...Object.fromEntries(Object.entries(rest).sort(([one], [other]) => (one < other ? -1 : 1))),
    ...(host !== undefined && { host }),
  })
}

function withoutSlash(url: string): string {
  return url.replace(/\/$/, '')
}
