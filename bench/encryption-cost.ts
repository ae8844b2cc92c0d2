/** What the closed swarm costs over plain BitTorrent: on loopback, on a link of 1 Gbit/s (root), and per connection. */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { openNetwork, type NetworkHost } from '../src/testing/lab/network.ts'
import { makeBenchImage } from './bench-image.ts'
import type { Arena, Contender, Lineup } from './contenders/contender.ts'
import { ddocker } from './contenders/ddocker.ts'
import { measureHandshakes, type HandshakeCost } from './handshake-cost.ts'
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

/** One run of each, one after the other, on the same blob. */
type Pair = Readonly<Record<Kind, Run>>
type Kind = 'encrypted' | 'plain'

const MB = 1e6
const GIB = 2 ** 30
const LOOPBACK_LIMIT = 0.85
// nothing is lost: what is missing is noise
const LINK_LIMIT = 0.98
const SETUP_LIMIT_MS = 15

const options = measureOptions({
  blob: GIB,
  repetitions: 5,
  rate: '1gbit',
  linkRepetitions: 3,
  handshakes: 300,
  nodeFlags: '',
})
const { nodeFlags } = options
const contenders: Readonly<Record<Kind, Contender>> = {
  encrypted: ddocker({ byDoor: true, nodeFlags, swarm: 'closed' }),
  plain: ddocker({ byDoor: true, nodeFlags, swarm: 'public' }),
}
const settings = { encrypted: contenders.encrypted.settings, plain: contenders.plain.settings }

await using work = await openWorkDirectory()
await reportSetup()
reportLoopback(await runPairs(options.repetitions))
if (process.getuid?.() === 0 && options.linkRepetitions > 0) {
  await using network = await openNetwork({ hostCount: 2, rate: options.rate })
  reportLink(await runPairs(options.linkRepetitions, network.hosts))
}

async function runPairs(repetitions: number, hosts?: readonly NetworkHost[]): Promise<Pair[]> {
  const pairs: Pair[] = []
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    const isPlainFirst = repetition % 2 === 1
    pairs.push(await runPair({ isPlainFirst, ...(hosts && { hosts }) }))
  }
  return pairs
}

async function runPair({
  isPlainFirst,
  ...place
}: {
  isPlainFirst: boolean
  hosts?: readonly NetworkHost[]
}): Promise<Pair> {
  const directory = join(work.path, 'pair')
  const arena = { ...place, directory: join(directory, 'room'), leechers: 1 }
  try {
    const image = await makeBenchImage(directory, options.blob)
    const run = (kind: Kind) => runOnce(kind, { ...arena, image })
    const first = isPlainFirst ? await run('plain') : undefined
    const encrypted = await run('encrypted')
    return { encrypted, plain: first ?? (await run('plain')) }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function runOnce(kind: Kind, arena: Arena): Promise<Run> {
  try {
    await using lineup = await contenders[kind].open(arena)
    const run = await measure(lineup)
    process.stderr.write(`${kind}: ${JSON.stringify(run)}\n`)
    return run
  } finally {
    await rm(arena.directory, { recursive: true, force: true })
  }
}

async function measure({ seed, leechers }: Lineup): Promise<Run> {
  const [leecher] = leechers
  if (!leecher) throw new TypeError('a line-up without a leecher')
  const before = { seed: processorSeconds(seed.pid), leecher: processorSeconds(leecher.pid) }
  using watch = new BusyWatch()
  const startedAtMs = performance.now()
  await leecher.fetch()
  return {
    seconds: (performance.now() - startedAtMs) / 1000,
    seed: processorSeconds(seed.pid) - before.seed,
    leecher: processorSeconds(leecher.pid) - before.leecher,
    busy: watch.busy,
  }
}

function reportLoopback(pairs: readonly Pair[]): void {
  printRow({
    name: 'encryption-cost',
    unit: 'of the plain rate',
    value: shareOf(pairs),
    limit: LOOPBACK_LIMIT,
    baseline: ratesOf(pairs),
    params: { ...options, settings, inMemory: work.isInMemory, pairs },
  })
  const costOf = (kind: Kind, end: 'seed' | 'leecher') =>
    (median(pairs.map((pair) => pair[kind][end])) * GIB) / options.blob
  const ends = (kind: Kind) => ({ seed: costOf(kind, 'seed'), leecher: costOf(kind, 'leecher') })
  const [encrypted, plain] = [ends('encrypted'), ends('plain')]
  printRow({
    name: 'encryption-cost-processor',
    unit: 'processor s/GiB, both ends',
    value: encrypted.seed + encrypted.leecher,
    baseline: { plain: plain.seed + plain.leecher },
    params: { ...options, encrypted, plain },
  })
}

function reportLink(pairs: readonly Pair[]): void {
  printRow({
    name: 'encryption-cost-link',
    unit: 'of the plain rate',
    value: shareOf(pairs),
    limit: LINK_LIMIT,
    baseline: ratesOf(pairs),
    params: { ...options, settings, inMemory: work.isInMemory, pairs },
  })
}

async function reportSetup(): Promise<void> {
  const swarmKey = randomBytes(32)
  const plain = await measureHandshakes({ swarmKey, isEncrypted: false }, options.handshakes)
  const encrypted = await measureHandshakes({ swarmKey, isEncrypted: true }, options.handshakes)
  const loopMsOf = ({ dialing, accepting }: HandshakeCost) => dialing.loopMs + accepting.loopMs
  printRow({
    name: 'encryption-cost-setup',
    unit: 'ms of event loops, both ends',
    value: loopMsOf(encrypted),
    limit: SETUP_LIMIT_MS,
    baseline: { plain: loopMsOf(plain) },
    params: { handshakes: options.handshakes, encrypted, plain },
  })
}

/** The median of what the closed swarm reached in each pair: what changes slowly on a machine meets both. */
function shareOf(pairs: readonly Pair[]): number {
  return median(pairs.map(({ encrypted, plain }) => plain.seconds / encrypted.seconds))
}

function ratesOf(pairs: readonly Pair[]): Record<string, number> {
  const rateOf = (kind: Kind) => options.blob / median(pairs.map((pair) => pair[kind].seconds)) / MB
  return { 'MB/s encrypted': rateOf('encrypted'), 'MB/s plain': rateOf('plain') }
}
