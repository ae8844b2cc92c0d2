/** One seed, one leecher, two processes on loopback, nothing but the processor in the way. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { makeBenchImage, type BenchImage } from './bench-image.ts'
import type { Contender, Leecher, Lineup } from './contenders/contender.ts'
import { ddocker } from './contenders/ddocker.ts'
import { libtorrent, plainHttp, webtorrent } from './contenders/others.ts'
import { hashCeiling } from './hash-ceiling.ts'
import { measureOptions } from './measure-options.ts'
import { BusyWatch, processorSeconds } from './processor-time.ts'
import { printRow } from './row.ts'
import { median } from './statistics.ts'
import { openWorkDirectory } from './work-directory.ts'

interface Run {
  readonly seconds: number
  /** seconds on a processor */
  readonly seed: number
  readonly leecher: number
  readonly busy: { mean: number; most: number }
}

const MB = 1e6
const GIB = 2 ** 30
const KNOWN: Readonly<Record<string, () => Contender>> = {
  ddocker: () => ddocker({ byDoor: true, nodeFlags: options.nodeFlags }),
  'plain-http': plainHttp,
  libtorrent: () => libtorrent(),
  webtorrent: () => webtorrent(),
}
const options = measureOptions({
  blob: GIB,
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
const runs = new Map<string, Run[]>(contenders.map(({ name }) => [name, []]))
const ceilings: number[] = []
for (let repetition = 0; repetition < options.repetitions; repetition += 1) {
  const directory = join(work.path, String(repetition))
  const image = await makeBenchImage(directory, options.blob)
  ceilings.push(hashCeiling())
  for (const contender of contenders) {
    const run = await runOnce(contender, { directory, image })
    runs.get(contender.name)?.push(run)
    process.stderr.write(`${contender.name}: ${JSON.stringify(run)}\n`)
  }
  await rm(directory, { recursive: true })
}
report()

async function runOnce(
  contender: Contender,
  { directory, image }: { directory: string; image: BenchImage },
): Promise<Run> {
  const room = join(directory, 'room')
  try {
    await using lineup = await contender.open({ directory: room, image, leechers: 1 })
    return await measure(lineup)
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

async function measure({ seed, leechers }: Lineup): Promise<Run> {
  const [leecher] = leechers
  if (!leecher) throw new TypeError('a line-up without a leecher')
  const before = secondsOf(seed, leecher)
  using watch = new BusyWatch()
  const startedAtMs = performance.now()
  await leecher.fetch()
  const seconds = (performance.now() - startedAtMs) / 1000
  const after = secondsOf(seed, leecher)
  return {
    seconds,
    seed: after.seed - before.seed,
    leecher: after.leecher - before.leecher,
    busy: watch.busy,
  }
}

function secondsOf(seed: { pid: number }, leecher: Leecher): { seed: number; leecher: number } {
  return { seed: processorSeconds(seed.pid), leecher: processorSeconds(leecher.pid) }
}

function report(): void {
  const [ours] = contenders
  if (!ours) return
  const rateOf = (name: string) => options.blob / medianOf(name, 'seconds') / MB
  const costOf = (name: string) =>
    ((medianOf(name, 'seed') + medianOf(name, 'leecher')) * GIB) / options.blob
  const others = contenders.slice(1).map(({ name }) => name)
  const params = {
    ...options,
    settings: Object.fromEntries(contenders.map(({ name, settings }) => [name, settings])),
    inMemory: work.isInMemory,
    runs: Object.fromEntries(runs),
  }
  printRow({
    name: 'seed-to-leecher',
    unit: 'MB/s',
    value: rateOf(ours.name),
    limit: median(ceilings) / MB,
    baseline: Object.fromEntries(others.map((name) => [name, rateOf(name)])),
    params,
  })
  printRow({
    name: 'seed-to-leecher-processor',
    unit: 'processor s/GiB, both ends',
    value: costOf(ours.name),
    limit: GIB / median(ceilings),
    baseline: Object.fromEntries(others.map((name) => [name, costOf(name)])),
    params: {
      ...options,
      seed: medianOf(ours.name, 'seed'),
      leecher: medianOf(ours.name, 'leecher'),
    },
  })
}

function medianOf(name: string, field: 'seconds' | 'seed' | 'leecher'): number {
  return median((runs.get(name) ?? []).map((run) => run[field]))
}
