import { OPTIONS, environmentNameOf, type AnyOption } from '../config/options.ts'
import { ERROR_CODES, OperationError } from '../errors.ts'

/** The parts of README.md that are made from the source, by the name of their marker. */
export function readmeTables(): Readonly<Record<string, string>> {
  return { options: optionsTable(), errors: errorsTable() }
}

/** `text` with everything between the markers of `name` replaced. */
export function replaceBetweenMarkers(text: string, name: string, content: string): string {
  const pattern = new RegExp(`(<!-- ${name} -->)[^]*?(<!-- /${name} -->)`)
  if (!pattern.test(text)) throw new Error(`README.md has no markers for ${name}`)
  return text.replace(
    pattern,
    (_all, open: string, close: string) => `${open}\n\n${content}\n\n${close}`,
  )
}

function optionsTable(): string {
  const rows = (Object.values(OPTIONS) as AnyOption[]).map((option) =>
    row([
      `\`--${option.name}\``,
      `\`${environmentNameOf(option)}\``,
      cell(option.help),
      cell(option.defaultText),
    ]),
  )
  return [row(['flag', 'variable', 'what', 'default']), '|---|---|---|---|', ...rows].join('\n')
}

function errorsTable(): string {
  const rows = ERROR_CODES.map((code) =>
    row([`\`${code}\``, cell(new OperationError(code, '').hint)]),
  )
  return [row(['code', 'what to do']), '|---|---|', ...rows].join('\n')
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
}
