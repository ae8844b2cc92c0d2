/** buildkitd.toml of a BuildKit of its own (buildkit, docs/buildkitd.toml.md); the one inside Docker reads Docker's files. */
import { asRecord } from '../oci/descriptor.ts'
import { insertAll, lineEndOf, type Insertion } from './text-edit.ts'
import { firstThatParses, headerOf, parseToml, tableAt, type TomlTable } from './toml-file.ts'

/**
 * Makes the node the first mirror of the registries.
 * @param text undefined where there is no file yet
 * @param options.address `127.0.0.1:5151`
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function addBuildkitMirrors(
  text: string | undefined,
  { address, registries, path }: { address: string; registries: readonly string[]; path: string },
): readonly Insertion[] {
  const now = text ?? ''
  const before = parseToml(now, path)
  const named = Object.keys(asRecord(before['registry']) ?? {})
  const missing = [...new Set([...registries, ...named])].filter(
    (host) => host !== address && mirrorsOf(before, host)[0] !== address,
  )
  const inPlace = missing.filter((host) => named.includes(host))
  const appended = missing.filter((host) => !named.includes(host))
  const insertions = inPlace.flatMap((host) => placesOf(now, host, address))
  const isPlain = tableAt(before, ['registry', address])?.['http'] === true
  const atEnd = appendix(now, { registries: appended, address, withHttp: !isPlain })
  const all = atEnd === '' ? insertions : [...insertions, { offset: now.length, text: atEnd }]
  if (all.length === 0) return []
  return firstThatParses([all], {
    apply: (pieces) => insertAll(now, pieces),
    isWanted: (after) => missing.every((host) => mirrorsOf(after, host)[0] === address),
    path,
  })
}

/** The mirrors of a registry, in the order in which they are asked. */
export function mirrorsOf(table: TomlTable, host: string): string[] {
  const mirrors = tableAt(table, ['registry', host])?.['mirrors']
  return Array.isArray(mirrors) ? mirrors.filter((mirror) => typeof mirror === 'string') : []
}

/** In front of the user's mirrors, or as a line below the header of the table. */
function placesOf(text: string, host: string, address: string): Insertion[] {
  const header = headerOf(text, ['registry', host])
  if (!header) return []
  const body = text.slice(header.end)
  const end = /^[ \t]*\[/m.exec(body)?.index ?? body.length
  const list = /^[ \t]*mirrors[ \t]*=[ \t]*\[\s*/m.exec(body.slice(0, end))
  if (!list) {
    const eol = lineEndOf(text)
    const lead = header.end > 0 && text[header.end - 1] !== '\n' ? eol : ''
    return [{ offset: header.end, text: `${lead}  mirrors = ["${address}"] # ddocker${eol}` }]
  }
  const offset = header.end + list.index + list[0].length
  return [{ offset, text: text[offset] === ']' ? `"${address}"` : `"${address}", ` }]
}

function appendix(
  text: string,
  {
    registries,
    address,
    withHttp,
  }: { registries: readonly string[]; address: string; withHttp: boolean },
): string {
  const tables = [
    ...registries.map((host) => `[registry.${JSON.stringify(host)}]\n  mirrors = ["${address}"]\n`),
    ...(withHttp ? [`[registry.${JSON.stringify(address)}]\n  http = true\n`] : []),
  ]
  if (tables.length === 0) return ''
  const lead = text === '' ? '' : text.endsWith('\n') ? '\n' : '\n\n'
  const lines = `${lead}# ddocker: asked first\n${tables.join('')}`
  return lines.replaceAll('\n', lineEndOf(text))
}
