/** A crowd: one seed, eight leechers that begin at once, every link equally thin. Needs root (lab networks). */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { openNetwork } from '../src/testing/lab/network.ts'
import { pieceCount } from '../src/torrent/piece-length.ts'
import { makeBenchImage } from './bench-image.ts'
import { fluidSeconds, pieceSeconds, starSeconds, type Crowd } from './bounds.ts'
import type { Contender } from './contenders/contender.ts'
import { ddocker } from './contenders/ddocker.ts'
import { libtorrent, webtorrent } from './contenders/others.ts'
import { calibrate, congestionControl, runCrowd, type CrowdRun } from './crowd-run.ts'
import { measureOptions } from './measure-options.ts'
import { printRow } from './row.ts'
import { median } from './statistics.ts'
import { openWorkDirectory } from './work-directory.ts'

const KNOWN: Readonly<Record<string, () => Contender>> = {
  ddocker: () => ddocker({ nodeFlags: options.nodeFlags }),
  libtorrent: () => libtorrent(),
  'libtorrent-super-seeding': () => libtorrent({ superSeeding: true }),
  webtorrent: () => webtorrent(),
}
const options = measureOptions({
  blob: 64 * 2 ** 20,
  leechers: 8,
  rate: '50mbit',
  repetitions: 3,
  contenders: Object.keys(KNOWN).join(','),
  nodeFlags: '',
})

const contenders = options.contenders.split(',').map((name) => {
  const make = KNOWN[name]
  if (!make) throw new TypeError(`wanted one of ${Object.keys(KNOWN).join(', ')}, found ${name}`)
  return make()
})
await using work = await openWorkDirectory()
await using network = await openNetwork({
  hostCount: options.leechers + 1,
  rate: options.rate,
})
const calibration = await calibrate(network)
const control = await congestionControl(network)
const runs = new Map<string, CrowdRun[]>(contenders.map(({ name }) => [name, []]))
for (let repetition = 0; repetition < options.repetitions; repetition += 1) {
  const directory = join(work.path, String(repetition))
  const image = await makeBenchImage(directory, options.blob)
  for (const contender of contenders) {
    const run = await runCrowd({ contender, network, image, directory, calibration })
    runs.get(contender.name)?.push(run)
    process.stderr.write(`${contender.name}: ${JSON.stringify(run)}\n`)
  }
  await rm(directory, { recursive: true })
}
report()

function report(): void {
  const [ours] = contenders
  if (!ours) return
  const others = contenders.slice(1).map(({ name }) => name)
  const bounds = boundsOf()
  const params = {
    ...options,
    pieces: pieceCount(options.blob),
    goodput: Math.round(calibration.goodput),
    limitIs: 'piece bound (Mundinger, Weber & Weiss) at the measured goodput',
    ...bounds,
    congestionControl: control,
    settings: Object.fromEntries(contenders.map(({ name, settings }) => [name, settings])),
    inMemory: work.isInMemory,
    runs: Object.fromEntries(runs),
  }
  printRow({
    name: 'crowd',
    unit: 's, slowest node',
    value: medianOf(ours.name, 'slowest'),
    limit: bounds.pieceSeconds,
    baseline: {
      ...Object.fromEntries(others.map((name) => [name, medianOf(name, 'slowest')])),
      'without peers (computed)': bounds.starSeconds,
    },
    params,
  })
  printRow({
    name: 'crowd-copies',
    unit: 'copies sent by the seed',
    value: medianOf(ours.name, 'copies'),
    limit: 1,
    baseline: {
      ...Object.fromEntries(others.map((name) => [name, medianOf(name, 'copies')])),
      'without peers (computed)': options.leechers,
    },
    params: { ...options, byLinkCounter: medianOf(ours.name, 'linkCopies') },
  })
}

function boundsOf() {
  const { blob: bytes, leechers: nodes } = options
  const rate = calibration.goodput
  const links = Array.from({ length: nodes }, () => rate)
  const crowd: Crowd = { bytes, seedUp: rate, up: links, down: links }
  return {
    fluidSeconds: fluidSeconds(crowd),
    pieceSeconds: pieceSeconds({ bytes, rate, nodes, pieces: pieceCount(bytes) }),
    starSeconds: starSeconds(crowd),
  }
}

function medianOf(name: string, field: 'slowest' | 'copies' | 'linkCopies'): number {
  return median((runs.get(name) ?? []).map((run) => run[field]))
}
