/** Makes RESULTS.md, and the table of README.md, from the rows; run alone, it makes them anew. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { replaceBetweenMarkers } from '../src/testing/readme-tables.ts'
import { RESULTS_FILE } from './measures.ts'
import { newestRows, parseRows, type Row } from './row.ts'

const README = join(import.meta.dirname, '../README.md')
const RESULTS = join(import.meta.dirname, 'RESULTS.md')
const ROWS = join(import.meta.dirname, RESULTS_FILE)

/** What a row means to somebody who reads the table only. */
const TITLES: Readonly<Record<string, string>> = {
  metainfo: 'Make a torrent of 1 GiB: store it, hash its pieces and the whole',
  'seed-to-leecher': '1 GiB from node to node through the registry door, on loopback',
  'seed-to-leecher-processor': 'The same, in processor time of both ends',
  'encryption-cost': '1 GiB from node to node on loopback: closed swarm, over plain BitTorrent',
  'encryption-cost-processor': 'The same, in processor time of both ends',
  'encryption-cost-link': 'The same rates where a link of 1 Gbit/s is between them',
  'encryption-cost-setup': 'Set up a connection between members, both ends together',
  'first-byte-local-p50': 'First byte of a layer that is here, median',
  'first-byte-local-p99': 'First byte of a layer that is here, 99 %',
  'first-byte-peer-p50': 'First byte of a layer one peer away, median',
  'first-byte-peer-p99': 'First byte of a layer one peer away, 99 %',
  crowd: 'One seed, 8 nodes at once, 64 MiB, every link 50 Mbit/s: the slowest node',
  'crowd-copies': 'Copies of the layer that the seed sent meanwhile',
  'never-slower-100mbit':
    '`docker pull` of 200 MB, registry at 100 Mbit/s, through a node without peers',
  'never-slower-loopback': 'The same, registry at the speed of memory',
  'never-slower-small':
    'A small image through a node without peers, registry at the speed of memory',
  'never-slower-warm': '`docker pull` of 200 MB, registry at 100 Mbit/s, when a second host has it',
  'never-slower-black-holed': 'The same, when the second host has just vanished',
  'never-slower-black-holed-small': 'A small image, when the second host has just vanished',
  'layer-order': '`docker pull` of layers that take as long to extract as to download',
}
const HEAD = ['what', 'measured', 'limit', 'measured ÷ limit', 'others in the same run']

/** Writes both from the rows of the results file. */
export async function writeReports(): Promise<void> {
  const rows = await readRows()
  const readme = await readFile(README, 'utf8')
  await writeFile(README, replaceBetweenMarkers(readme, 'bench', readmeBlock(rows)))
  await writeFile(RESULTS, resultsPage(rows))
}

/** All rows that are kept; none where nothing was measured yet. */
export async function readRows(): Promise<Row[]> {
  try {
    return parseRows(await readFile(ROWS, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** The block of README.md: the newest row of each name. */
export function readmeBlock(rows: readonly Row[]): string {
  const newest = newestRows(rows)
  const [row] = newest
  if (!row) return 'Nothing was measured yet.'
  const machines = new Set(newest.map(machineOf))
  return [
    table(newest),
    '',
    `Measured on ${[...machines].join('; ')}. All parameters: [bench/RESULTS.md](bench/RESULTS.md).`,
  ].join('\n')
}

/** RESULTS.md: the newest rows with all their parameters. */
export function resultsPage(rows: readonly Row[]): string {
  const newest = newestRows(rows)
  const details = newest.flatMap((row) => [
    `## ${row.name}`,
    '',
    `${TITLES[row.name] ?? row.name}: ${summaryOf(row)}.`,
    '',
    `Commit ${row.commit}, ${new Date(row.atMs).toISOString()}, ${machineOf(row)}.`,
    '',
    '```text',
    ...paramLines(row),
    '```',
    '',
  ])
  return [
    '# Results',
    '',
    `Generated from ${RESULTS_FILE} by \`node bench/report.ts\`; what the rows mean stands in README.md.`,
    '',
    '<!-- prettier-ignore -->',
    table(newest),
    '',
    ...details,
  ].join('\n')
}

/** A row in one line, for a terminal. */
export function summaryOf(row: Row): string {
  const limit =
    row.limit === undefined
      ? ''
      : `; limit ${row.limit}, ratio ${row.ratio ?? row.value / row.limit}`
  const others = row.baseline ? `; ${othersOf(row)}` : ''
  return `${row.name} ${row.value} ${row.unit}${limit}${others}`
}

function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    TITLES[row.name] ?? row.name,
    `**${row.value}** ${row.unit}`,
    row.limit === undefined ? '' : String(row.limit),
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    othersOf(row),
  ])
  const lines = [HEAD, HEAD.map(() => '---'), ...cells]
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n')
}

function othersOf({ baseline = {} }: Row): string {
  return Object.entries(baseline)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}

function machineOf({ cpu, node, params }: Row): string {
  return `${String(params['cpus'])} × ${cpu}, Node ${node}`
}

/** One parameter a line: lists of runs would fill pages. */
function paramLines({ params }: Row): string[] {
  const entries = Object.entries(params)
  return [
    '{',
    ...entries.map(
      ([name, value], index) =>
        `  ${JSON.stringify(name)}: ${JSON.stringify(value)}${index < entries.length - 1 ? ',' : ''}`,
    ),
    '}',
  ]
}

if (import.meta.main) await writeReports()
