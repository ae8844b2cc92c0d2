/**
 * What a pull costs through a node, against the same pull without one, by a real Docker from a real registry.
 * Needs root (lab networks, dockerd 20.10, docker-registry, skopeo).
 */
import { mustSucceed } from '../src/testing/lab/child.ts'
import type { DdockerNode } from '../src/testing/lab/ddocker-node.ts'
import { measureOptions } from './measure-options.ts'
import { PullClient } from './never-slower-client.ts'
import { pushImage, randomLayer } from './never-slower-image.ts'
import { openForwarder, openPullThroughCache } from './never-slower-others.ts'
import { nameThrough, openPullStage, timePull } from './never-slower-stage.ts'
import { printRow } from './row.ts'
import { median } from './statistics.ts'
import { openWorkDirectory } from './work-directory.ts'

/** Ways to the same image. */
const WAYS = ['direct', 'alone', 'warm', 'black-holed'] as const
/** not ours; measured where the processor is the limit */
const OTHERS = ['hash-once', 'hash-twice', 'cache'] as const
type Way = (typeof WAYS)[number] | (typeof OTHERS)[number]
type Times = Record<Way, number[]>

const MB = 1e6
/** shares of the large image, as layers of real images differ */
const LAYER_SHARES = [0.4, 0.25, 0.2, 0.1, 0.04, 0.01]
const SMALL_LAYERS = [100_000, 20_000, 1000]
const options = measureOptions({
  image: 200 * MB,
  rate: '100mbit',
  repetitions: 5,
  loopbackRepetitions: 9,
  smallRepetitions: 25,
  ways: WAYS.join(','),
})

const ways = WAYS.filter((way) => options.ways.split(',').includes(way))
await using work = await openWorkDirectory()
await using stage = await openPullStage()
const { registry, registryHost, engine, engineHost, peerHost } = stage
const target = { registry, host: registryHost, directory: work.path }
const alone = await stage.startNode('alone')
const warm = await stage.startPair('warm')
const blackHoled = await stage.startPair('hole')
await using client = await PullClient.open(engineHost)
const inBetween = { host: engineHost, registry, folder: work.path }
await using hashOnce = await openForwarder('once', inBetween)
await using hashTwice = await openForwarder('twice', inBetween)
await using cache = await openPullThroughCache(inBetween)

await pushImage(target, 'bench/first:1', [randomLayer(1000)])
await pullEveryWay('bench/first:1')
const small = await measureSmall()
const atLoopback = await measureLarge(undefined)
const atRate = await measureLarge(options.rate)
report()

/** Every part has its first request behind it, and its code compiled, as in a node that runs for days. */
async function pullEveryWay(name: string): Promise<void> {
  for (const way of [...ways, ...OTHERS]) await timePull(engine, await nameOf(way, name))
}

async function measureLarge(rate: string | undefined): Promise<Times> {
  const times = noTimes()
  const isLoopback = rate === undefined
  const all = isLoopback ? [...ways, ...OTHERS] : ways
  const repetitions = isLoopback ? options.loopbackRepetitions : options.repetitions
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    const name = `bench/large-${rate ?? 'loopback'}:${repetition}`
    await pushImage(
      target,
      name,
      LAYER_SHARES.map((share) => randomLayer(Math.round(share * options.image))),
    )
    await bringToPeers(name)
    await registryHost.setRate(rate)
    for (const way of turnsOf(repetition, all)) {
      const reference = await nameOf(way, name)
      if (way === 'black-holed') await peerHost.setLink('down')
      times[way].push(await timePull(engine, reference))
      if (way === 'black-holed') await plugIn()
    }
    await registryHost.setRate(undefined)
    process.stderr.write(`${name}: ${JSON.stringify(lastOf(times, all))}\n`)
  }
  return times
}

/** By a client that does what engines do and nothing else: a millisecond counts here. */
async function measureSmall(): Promise<Times> {
  const times = noTimes()
  for (let repetition = 0; repetition < options.smallRepetitions; repetition += 1) {
    const name = 'bench/small'
    const tag = String(repetition)
    await pushImage(target, `${name}:${tag}`, SMALL_LAYERS.map(randomLayer))
    await bringToPeers(`${name}:${tag}`)
    for (const way of turnsOf(repetition, ways)) {
      if (way === 'black-holed') await peerHost.setLink('down')
      const node = nodeOf(way)
      const seconds = await client.pull({
        repository: name,
        tag,
        door: node?.registry ?? registry,
        ...(node && { ns: registry }),
      })
      times[way].push(seconds)
      if (way === 'black-holed') await plugIn()
    }
  }
  return times
}

/** Both peers hold the image, and their nodes have heard of it or can. */
async function bringToPeers(name: string): Promise<void> {
  for (const { peer } of ways.length > 1 ? [warm, blackHoled] : []) {
    await peer.cliJson(['pull', `${registry}/${name}`, '--no-load'], { timeoutMs: 600_000 })
  }
}

async function plugIn(): Promise<void> {
  await peerHost.setLink('up')
  const [host, port] = blackHoled.peer.peerAddress.split(':')
  const knock = ['-c', `exec 3<>/dev/tcp/${host}/${port}`]
  mustSucceed(await engineHost.run('bash', knock), 'the way to the peers')
}

async function nameOf(way: Way, name: string): Promise<string> {
  if (way === 'hash-once') return `${hashOnce.address}/${name}`
  if (way === 'hash-twice') return `${hashTwice.address}/${name}`
  if (way === 'cache') return `${cache.address}/${name}`
  const node = nodeOf(way)
  return node ? nameThrough(node, registry, name) : `${registry}/${name}`
}

function nodeOf(way: Way): DdockerNode | undefined {
  return new Map<Way, DdockerNode>([
    ['alone', alone],
    ['warm', warm.node],
    ['black-holed', blackHoled.node],
  ]).get(way)
}

/** Each way comes first, second … equally often: what the first one warms helps the others. */
function turnsOf(repetition: number, among: readonly Way[]): Way[] {
  const first = repetition % among.length
  return [...among.slice(first), ...among.slice(0, first)]
}

function noTimes(): Times {
  const none = [...WAYS, ...OTHERS].map((way): [Way, number[]] => [way, []])
  return Object.fromEntries(none) as Times
}

function lastOf(times: Times, among: readonly Way[]): Record<string, number | undefined> {
  return Object.fromEntries(among.map((way) => [way, times[way].at(-1)]))
}

function report(): void {
  const rows = [
    { name: 'never-slower-100mbit', way: 'alone', times: atRate, factor: 1.03, plus: 0 },
    { name: 'never-slower-loopback', way: 'alone', times: atLoopback, factor: 1.15, plus: 0 },
    { name: 'never-slower-small', way: 'alone', times: small, factor: 1, plus: 0.02 },
    { name: 'never-slower-warm', way: 'warm', times: atRate, factor: 1, plus: 0 },
    { name: 'never-slower-black-holed', way: 'black-holed', times: atRate, factor: 1, plus: 1 },
    {
      name: 'never-slower-black-holed-small',
      way: 'black-holed',
      times: small,
      factor: 1,
      plus: 1,
    },
  ] as const
  for (const { name, way, times, factor, plus } of rows) {
    if (!ways.includes(way)) continue
    const direct = median(times.direct)
    printRow({
      name,
      unit: 's',
      value: median(times[way]),
      limit: direct * factor + plus,
      baseline: {
        direct,
        ...(times.cache.length > 0 && {
          'forwarder that hashes once': median(times['hash-once']),
          'forwarder that hashes twice': median(times['hash-twice']),
          'docker-registry as cache': median(times.cache),
        }),
      },
      params: {
        ...options,
        limitIs: `${factor} × direct + ${plus} s`,
        layerShares: LAYER_SHARES,
        least: Object.fromEntries(
          Object.entries(times)
            .filter(([, all]) => all.length > 0)
            .map(([each, all]) => [each, Math.min(...all)]),
        ),
        all: times,
      },
    })
  }
}
