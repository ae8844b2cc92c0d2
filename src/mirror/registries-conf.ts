/**
 * registries.conf of Podman, Buildah, Skopeo and CRI-O (containers-registries.conf(5)). Files of registries.conf.d
 * are read by name; a later entry of the same prefix replaces an earlier one as a whole, so an entry of ours has to
 * say again what the user's says.
 */
import { stringify } from 'smol-toml'

import { asRecord } from '../oci/descriptor.ts'
import { parseToml, type TomlTable } from './toml-file.ts'

/** A file of the user, in the order in which they are read. */
export interface RegistriesFile {
  readonly path: string
  readonly text: string
}

/** An entry as it counts in the end. */
export interface RegistryEntry {
  readonly prefix: string
  readonly fields: TomlTable
  /** the file it is from */
  readonly path: string
}

/** A file for registries.conf.d, and what it leaves out. */
export interface RegistriesConf {
  readonly text: string
  /** the registries that have the node as their first mirror */
  readonly registries: readonly string[]
  /** why some do not, in words */
  readonly notes: readonly string[]
}

const HEADER = `# Written by \`ddocker mirror install\`; \`ddocker mirror remove\` takes it away.
# An entry replaces one of the same prefix in the files before: what those say is kept here.
`

/**
 * The registries that the user's files name by host alone, with what they say. Namespaces (`ghcr.io/acme`) and
 * wildcards stay as they are: the longest prefix counts.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function entriesOf(files: readonly RegistriesFile[]): RegistryEntry[] {
  const byPrefix = new Map<string, RegistryEntry>()
  for (const { path, text } of files) {
    const { registry } = parseToml(text, path)
    for (const entry of Array.isArray(registry) ? registry : []) {
      const fields = asRecord(entry) ?? {}
      const prefix = fields['prefix'] ?? fields['location']
      if (typeof prefix === 'string' && prefix !== '')
        byPrefix.set(prefix, { prefix, fields, path })
    }
  }
  return [...byPrefix.values()]
}

/** Hosts that short names are searched at. */
export function searchedHosts(files: readonly RegistriesFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const hosts = parseToml(text, path)['unqualified-search-registries']
    return Array.isArray(hosts) ? hosts.filter((host) => typeof host === 'string') : []
  })
}

/**
 * Makes the file with the node as the first mirror of every registry.
 * @param options.address `127.0.0.1:5151`
 * @param options.registries hosts, besides those that the files before name
 * @param options.before the user's files that are read before ours
 * @param options.later those that are read after it, and win
 */
export function makeRegistriesConf({
  address,
  registries,
  before,
  later,
}: {
  address: string
  registries: readonly string[]
  before: readonly RegistriesFile[]
  later: readonly RegistriesFile[]
}): RegistriesConf {
  const entries = new Map(entriesOf(before).map((entry) => [entry.prefix, entry]))
  const winning = new Map(entriesOf(later).map((entry) => [entry.prefix, entry]))
  const own = [...entries.keys(), ...searchedHosts(before)].filter(isHost)
  const tables: string[] = []
  const covered: string[] = []
  const notes: string[] = []
  for (const host of new Set([...registries, ...own])) {
    const entry = entries.get(host)
    const winner = winning.get(host)
    if (winner) notes.push(`${host}: left to ${winner.path}, which is read later`)
    else if (entry?.fields['blocked'] === true) notes.push(`${host}: blocked by ${entry.path}`)
    else if (!host.startsWith(address)) {
      tables.push(tableOf(host, address, entry))
      covered.push(host)
    }
  }
  return { text: `${HEADER}\n${tables.join('\n')}`, registries: covered, notes }
}

/** Whether the node is the first mirror of a registry, by all files together. */
export function isMirrored(
  files: readonly RegistriesFile[],
  { host, address }: { host: string; address: string },
): boolean {
  const entry = entriesOf(files).find(({ prefix }) => prefix === host)
  const mirrors = entry?.fields['mirror']
  const first = asRecord(Array.isArray(mirrors) ? mirrors[0] : undefined)?.['location']
  return typeof first === 'string' && first.startsWith(`${address}/`)
}

function tableOf(host: string, address: string, entry: RegistryEntry | undefined): string {
  const { mirror, ...fields } = entry?.fields ?? {}
  const location = typeof fields['location'] === 'string' ? fields['location'] : host
  const theirs: unknown[] = Array.isArray(mirror) ? mirror : []
  // where the user sends this registry elsewhere, that is what the node has to ask for
  const ours = { location: `${address}/${location.replace(':', '__')}`, insecure: true }
  return stringify({
    registry: [{ ...fields, prefix: host, location, mirror: [ours, ...theirs] }],
  })
}

function isHost(prefix: string): boolean {
  return !prefix.includes('/') && !prefix.startsWith('*.')
}
