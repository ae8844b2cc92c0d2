/** Runs measures, each in a process of its own, and keeps their rows: `npm run bench [-- NAME… [--option=value…]]`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import { MEASURES, RESULTS_FILE } from './measures.ts'
import { summaryOf, writeReports } from './report.ts'
import { parseRows } from './row.ts'

const FAILED = 1
const USAGE = 2

const args = process.argv.slice(2)
const options = args.filter((arg) => arg.startsWith('--'))
const named = args.filter((arg) => !arg.startsWith('--'))
const known: readonly string[] = MEASURES
const unknown = named.filter((name) => !known.includes(name))
const isUsable = unknown.length === 0 && (options.length === 0 || named.length === 1)
process.exitCode = isUsable ? await runAll(named.length === 0 ? known : named) : explain()

/** @returns the exit code: a measure that fails does not keep the others from running */
async function runAll(names: readonly string[]): Promise<number> {
  let code = 0
  for (const name of names) {
    process.stderr.write(`${name} …\n`)
    if (!(await measure(name))) code = FAILED
  }
  await writeReports()
  return code
}

async function measure(name: string): Promise<boolean> {
  const child = spawn(process.execPath, [join(import.meta.dirname, `${name}.ts`), ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  for await (const line of createInterface({ input: child.stdout })) {
    await appendFile(join(import.meta.dirname, RESULTS_FILE), `${line}\n`)
    for (const row of parseRows(line)) process.stdout.write(`${summaryOf(row)}\n`)
  }
  const [code] = (await ended) as [number | null]
  return code === 0
}

function explain(): number {
  const usage = `usage: npm run bench [-- NAME… ], or one NAME with --option=value…; NAME: ${known.join(', ')}`
  process.stderr.write(`${usage}\n`)
  return USAGE
}
