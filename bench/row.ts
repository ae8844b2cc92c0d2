import { execFileSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'

/** One result, as it stands in a line of results.jsonl. */
export interface Row {
  /** what was measured, such as `crowd-copies` */
  readonly name: string
  readonly unit: string
  readonly value: number
  /** what cannot be beaten, in the same unit, from the same run */
  readonly limit?: number
  /** `value / limit` */
  readonly ratio?: number
  /** what others reach, in the same unit, from the same run */
  readonly baseline?: Readonly<Record<string, number>>
  /** everything that the result depends on */
  readonly params: Readonly<Record<string, unknown>>
  /** abbreviated; `-dirty` where src/ or bench/ held changes */
  readonly commit: string
  readonly cpu: string
  readonly node: string
  readonly atMs: number
}

/** A result before it knows where it was made. */
export type Measured = Pick<Row, 'name' | 'unit' | 'value' | 'params'> &
  Partial<Pick<Row, 'limit' | 'baseline'>>

/** Prints a result as one line of JSON on stdout. */
export function printRow(measured: Measured): void {
  process.stdout.write(`${JSON.stringify(completeRow(measured))}\n`)
}

/** Adds the ratio, and where and when it was measured. */
export function completeRow(measured: Measured): Row {
  const { name, unit, value, limit, baseline, params } = measured
  return {
    name,
    unit,
    value: significant(value),
    ...(limit !== undefined && { limit: significant(limit), ratio: significant(value / limit) }),
    ...(baseline && { baseline: mapValues(baseline, significant) }),
    params: { ...params, loadAverage: loadavg().map(significant), cpus: cpus().length },
    commit: commitOf(import.meta.dirname),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    node: process.version,
    atMs: Date.now(),
  }
}

/** Reads lines of JSON. @throws SyntaxError, TypeError where a line is no row */
export function parseRows(text: string): Row[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => parseRow(line))
}

/** The newest row of every name, in the order in which the names first appear. */
export function newestRows(rows: readonly Row[]): Row[] {
  const newest = new Map<string, Row>()
  for (const row of rows) {
    const other = newest.get(row.name)
    if (!other || other.atMs <= row.atMs) newest.set(row.name, row)
  }
  return [...newest.values()]
}

function parseRow(line: string): Row {
  const row = JSON.parse(line) as Partial<Row> | null
  const isRow =
    typeof row?.name === 'string' &&
    typeof row.unit === 'string' &&
    typeof row.value === 'number' &&
    typeof row.commit === 'string' &&
    typeof row.atMs === 'number'
  if (!isRow) throw new TypeError(`wanted a row, found ${line.slice(0, 100)}`)
  return row as Row
}

function commitOf(directory: string): string {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', directory, ...args], { encoding: 'utf8' }).trim()
  try {
    const changes = git('status', '--porcelain', '--', '../src', '.', ':!results.jsonl')
    return `${git('rev-parse', '--short=10', 'HEAD')}${changes === '' ? '' : '-dirty'}`
  } catch {
    return 'unknown'
  }
}

function significant(value: number): number {
  return Number(value.toPrecision(4))
}

function mapValues(
  record: Readonly<Record<string, number>>,
  map: (value: number) => number,
): Record<string, number> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]))
}
