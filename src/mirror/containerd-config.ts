/** config.toml of containerd: where the CRI plugin looks for hosts.toml (containerd, docs/cri/registry.md). */
import { OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { insertAll, lineEndOf, type Insertion } from './text-edit.ts'
import { firstThatParses, headerOf, parseToml, tableAt, type TomlTable } from './toml-file.ts'

/** Where settings of registries stand, by the version of the file. */
const REGISTRY_TABLES = {
  3: ['plugins', 'io.containerd.cri.v1.images', 'registry'],
  2: ['plugins', 'io.containerd.grpc.v1.cri', 'registry'],
  1: ['plugins', 'cri', 'registry'],
} as const

/** The folders that the CRI plugin looks into, in order; empty where none is set. */
export function hostsFoldersOf(table: TomlTable): string[] {
  const paths = Object.values(REGISTRY_TABLES).map(
    (names) => tableAt(table, names)?.['config_path'],
  )
  const path = paths.find((value) => typeof value === 'string' && value !== '')
  return typeof path === 'string' ? path.split(':').filter((folder) => folder !== '') : []
}

/** Whether the CRI plugin is switched off, as Docker's own package of containerd does. */
export function isCriDisabled(table: TomlTable): boolean {
  const disabled = table['disabled_plugins']
  const names = ['cri', 'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images']
  return Array.isArray(disabled) && names.some((name) => disabled.includes(name))
}

/**
 * Names the folder with hosts.toml in a file that names none.
 * @param text undefined where there is no file yet
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function setHostsFolder(
  text: string | undefined,
  { folder, path }: { folder: string; path: string },
): readonly Insertion[] {
  if (text === undefined) return [{ offset: 0, text: newFile(folder) }]
  const before = parseToml(text, path)
  if (hostsFoldersOf(before).length > 0) return []
  const names = registryTableOf(before, path)
  refuseOldSettings(tableAt(before, names) ?? {}, path)
  const candidates = [inEmptyValue, belowHeader, atEnd].flatMap((place) => {
    const insertion = place(text, names, folder)
    return insertion ? [[insertion]] : []
  })
  return firstThatParses(candidates, {
    apply: (insertions) => insertAll(text, insertions),
    isWanted: (after) => hostsFoldersOf(after)[0] === folder,
    path,
  })
}

type Place = (text: string, names: readonly string[], folder: string) => Insertion | undefined

/** Between the quotes of `config_path = ""`, as `containerd config default` writes it. */
const inEmptyValue: Place = (text, names, folder) => {
  const header = headerOf(text, names)
  if (!header) return undefined
  const line = /^[ \t]*config_path[ \t]*=[ \t]*["'](?=["'])/m.exec(text.slice(header.end))
  return line ? { offset: header.end + line.index + line[0].length, text: folder } : undefined
}

const belowHeader: Place = (text, names, folder) => {
  const header = headerOf(text, names)
  if (!header) return undefined
  const indent = /^[ \t]*/.exec(text.slice(header.offset))?.[0] ?? ''
  const eol = lineEndOf(text)
  const isOpenLine = text[header.end - 1] !== '\n'
  const line = `${isOpenLine ? eol : ''}${indent}  config_path = ${JSON.stringify(folder)} # ddocker${eol}`
  return { offset: header.end, text: line }
}

const atEnd: Place = (text, names, folder) => {
  const lead = text === '' || text.endsWith('\n') ? '' : '\n'
  const title = names.map((name) => (/^\w+$/.test(name) ? name : JSON.stringify(name))).join('.')
  const lines = `${lead}\n# ddocker: where the CRI plugin finds hosts.toml\n[${title}]\n  config_path = ${JSON.stringify(folder)}\n`
  return { offset: text.length, text: lines.replaceAll('\n', lineEndOf(text)) }
}

function newFile(folder: string): string {
  // every containerd since 1.3 reads version 2
  const title = '[plugins."io.containerd.grpc.v1.cri".registry]'
  return `# Written by \`ddocker mirror install\`; \`ddocker mirror remove\` takes it away.\nversion = 2\n\n${title}\n  config_path = ${JSON.stringify(folder)}\n`
}

function registryTableOf(table: TomlTable, path: string): readonly string[] {
  const version = table['version'] ?? 1
  if (version === 1 || version === 2 || version === 3) return REGISTRY_TABLES[version]
  throw new OperationError(
    'MIRROR_FILE_INVALID',
    `${path}: wanted version 1, 2 or 3, found ${JSON.stringify(version)}`,
  )
}

/** With both, containerd starts without its CRI plugin: "`mirrors` cannot be set when `config_path` is provided". */
function refuseOldSettings(registry: TomlTable, path: string): void {
  const configs = Object.values(tableAt(registry, ['configs']) ?? {})
  const hasMirrors = Object.keys(tableAt(registry, ['mirrors']) ?? {}).length > 0
  const hasTls = configs.some((config) => asRecord(config)?.['tls'] !== undefined)
  if (!hasMirrors && !hasTls) return
  const old = hasMirrors ? 'registry.mirrors' : 'registry.configs with tls'
  throw new OperationError(
    'MIRROR_FILE_INVALID',
    `${path}: ${old} is set, which containerd refuses beside config_path; move it to hosts.toml files first`,
  )
}
