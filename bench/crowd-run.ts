import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { Child, mustSucceed } from '../src/testing/lab/child.ts'
import { hostAt, type Network, type NetworkHost } from '../src/testing/lab/network.ts'
import type { BenchImage } from './bench-image.ts'
import type { Contender, Leecher } from './contenders/contender.ts'
import { BusyWatch } from './processor-time.ts'

/** How a crowd fared: one seed, all leechers from the same moment on. */
export interface CrowdRun {
  /** when each leecher had and had checked the whole, seconds, in the order of the hosts */
  readonly seconds: readonly number[]
  readonly slowest: number
  /** of the blob, sent by the seed, by its own count */
  readonly copies: number
  /** the same from the counter of the seed's link, protocol overhead as in a plain transfer taken off */
  readonly linkCopies: number
  /** from the first to the last start, ms */
  readonly startSpreadMs: number
  /** shares of all processors of the machine */
  readonly busy: { readonly mean: number; readonly most: number }
}

/** What a link of this network carries, from one plain HTTP transfer while nothing else moves. */
export interface Calibration {
  /** bytes of body a second */
  readonly goodput: number
  /** bytes on the link for one byte of body */
  readonly overhead: number
}

const CALIBRATION_BYTES = 16 * 1024 * 1024
const CALIBRATION_PORT = 7000

/** How this machine's TCP avoids congestion: its own setting, which hosts of a network inherit. */
export async function congestionControl(network: Network): Promise<string> {
  const name = 'net.ipv4.tcp_congestion_control'
  return mustSucceed(await hostAt(network, 0).run('sysctl', ['-n', name]), name).stdout.trim()
}

/** Times one plain HTTP transfer from the first host to the second. */
export async function calibrate(network: Network): Promise<Calibration> {
  const [server, client] = [hostAt(network, 0), hostAt(network, 1)]
  const url = `http://${server.address}:${CALIBRATION_PORT}/`
  await using child = new Child(process.execPath, ['-e', SERVE], { prefix: server.prefix })
  await child.waitForLine(/^listening$/)
  const before = await linkBytesSent(server)
  const { stdout } = mustSucceed(await client.run(process.execPath, ['-e', FETCH, url]), 'fetch')
  const onLink = (await linkBytesSent(server)) - before
  return { goodput: Number(stdout), overhead: onLink / CALIBRATION_BYTES }
}

/** Lets one contender bring the image to all hosts but the first, which has it. */
export async function runCrowd(options: {
  contender: Contender
  network: Network
  image: BenchImage
  /** in memory */
  directory: string
  calibration: Calibration
}): Promise<CrowdRun> {
  const { contender, network, image, calibration } = options
  const directory = join(options.directory, contender.name.replaceAll(/[^a-z]/gi, ''))
  const { hosts } = network
  try {
    const arena = { directory, image, hosts, leechers: hosts.length - 1 }
    await using lineup = await contender.open(arena)
    const seedHost = hostAt(network, 0)
    const before = await linkBytesSent(seedHost)
    const race = await raceOf(lineup.leechers)
    const onLink = (await linkBytesSent(seedHost)) - before
    return {
      ...race,
      copies: (await lineup.seed.sentBytes()) / image.size,
      linkCopies: onLink / calibration.overhead / image.size,
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function raceOf(
  leechers: readonly Leecher[],
): Promise<Omit<CrowdRun, 'copies' | 'linkCopies'>> {
  using watch = new BusyWatch()
  const startedAtMs = performance.now()
  const fetches = leechers.map(async (leecher) => {
    await leecher.fetch()
    return (performance.now() - startedAtMs) / 1000
  })
  const startSpreadMs = performance.now() - startedAtMs
  const seconds = await Promise.all(fetches)
  return { seconds, slowest: Math.max(...seconds), startSpreadMs, busy: watch.busy }
}

/** What the host has put on its link so far, headers included. */
async function linkBytesSent(host: NetworkHost): Promise<number> {
  const { stdout } = mustSucceed(await host.run('cat', ['/proc/net/dev']), 'link counters')
  const [, counters = ''] = /^\s*e0:(.*)$/m.exec(stdout) ?? []
  return Number(counters.trim().split(/\s+/)[8])
}

const SERVE = `const bytes = Buffer.alloc(${CALIBRATION_BYTES}, 1)
require('node:http').createServer((_, response) => response.end(bytes))
  .listen(${CALIBRATION_PORT}, () => console.log('listening'))`

// Counts from the first chunk on: connection and slow start are no property of the link.
const FETCH = `let bytes = 0, start
require('node:http').get(process.argv[1], (response) => response
  .on('data', (chunk) => { if (start) bytes += chunk.length; start ??= performance.now() })
  .on('end', () => console.log(bytes * 1000 / (performance.now() - start))))`
