/** Prints the rows of two commits side by side: `node bench/compare.ts COMMIT COMMIT`. */
import { readRows } from './report.ts'
import { newestRows, type Row } from './row.ts'

/** A measure at two commits; what is missing was not measured there. */
export interface Comparison {
  readonly name: string
  readonly unit: string
  readonly before?: number
  readonly after?: number
  /** `after / before` */
  readonly change?: number
}

/** The newest rows of two commits (any prefix of them), by name. */
export function compareRows(
  rows: readonly Row[],
  { before, after }: { before: string; after: string },
): Comparison[] {
  const of = (commit: string) =>
    new Map(newestRows(rows.filter((row) => row.commit.startsWith(commit))).map(byName))
  const [old, young] = [of(before), of(after)]
  return [...new Set([...old.keys(), ...young.keys()])].map((name) =>
    compareOne(name, old.get(name), young.get(name)),
  )
}

const byName = (row: Row): [string, Row] => [row.name, row]

function compareOne(name: string, old: Row | undefined, young: Row | undefined): Comparison {
  return {
    name,
    unit: (young ?? old)?.unit ?? '',
    ...(old && { before: old.value }),
    ...(young && { after: young.value }),
    ...(old && young && { change: young.value / old.value }),
  }
}

/** As a table for a terminal. */
export function formatComparisons(comparisons: readonly Comparison[]): string {
  const lines = comparisons.map(({ name, unit, before, after, change }) => [
    name,
    String(before ?? '-'),
    String(after ?? '-'),
    change === undefined ? '-' : `× ${change.toFixed(3)}`,
    unit,
  ])
  const widths = [0, 1, 2, 3].map((at) =>
    Math.max(0, ...lines.map((line) => line[at]?.length ?? 0)),
  )
  return lines
    .map((line) =>
      line
        .map((cell, at) =>
          at === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[at] ?? 0),
        )
        .join('  '),
    )
    .join('\n')
}

if (import.meta.main) {
  const [before, after] = process.argv.slice(2)
  if (before === undefined || after === undefined) {
    process.stderr.write('usage: node bench/compare.ts COMMIT COMMIT\n')
    process.exitCode = 2
  } else {
    const comparisons = compareRows(await readRows(), { before, after })
    process.stdout.write(`${formatComparisons(comparisons)}\n`)
  }
}
