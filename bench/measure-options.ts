import { parseArgs } from 'node:util'

import { parseByteSize } from '../src/support/byte-size.ts'

/**
 * Reads `--name=value` from the command line by the type of the defaults: numbers (sizes such as 64MiB too), and
 * words. @throws TypeError for what the measure does not know
 */
export function measureOptions<Options extends Readonly<Record<string, number | string>>>(
  defaults: Options,
  args: readonly string[] = process.argv.slice(2),
): Options {
  const options = Object.fromEntries(
    Object.keys(defaults).map((name) => [name, { type: 'string' as const }]),
  )
  const { values } = parseArgs({ args: [...args], options })
  const given = Object.entries(values).map(([name, text]) => [
    name,
    typeof defaults[name] === 'number' ? parseByteSize(String(text)) : String(text),
  ])
  return { ...defaults, ...(Object.fromEntries(given) as Partial<Options>) }
}
