/**
 * Stations: hosts of a network, each with an engine and a ddocker node beside it, as on the machines
 * of users. All nodes share a swarm key and meet through the DHT of the first one.
 */
import { randomBytes } from 'node:crypto'
import type { DdockerNode, DdockerNodeOptions } from './ddocker-node.ts'
import { startDdockerNode } from './ddocker-node.ts'
import { startDockerCtr } from './docker-ctr.ts'
import type { DockerEngine } from './docker-engine.ts'
import { startDockerGd } from './docker-gd.ts'
import { openNetwork } from './network.ts'
import type { Network, NetworkHost } from './network.ts'

/** What one station is made of. */
export interface StationPlan {
  name: string
  engine?: 'gd' | 'ctr'
  /** Further flags of `serve`. */
  args?: readonly string[]
}

/** A host with its node. */
export interface Station {
  readonly name: string
  readonly host: NetworkHost
  readonly node: DdockerNode
}

/** A host with its node and an engine that the node speaks to. */
export interface EngineStation extends Station {
  readonly engine: DockerEngine
}

/** Stations on a network of their own. Disposing ends and removes everything. */
export interface Stations extends AsyncDisposable {
  readonly network: Network
  /** @throws TypeError when there is none of that name */
  at(name: string): Station
  /** @throws TypeError when there is none of that name, or it has no engine */
  engineAt(name: string): EngineStation
}

/** Starts all engines at once, then the nodes. Needs root. */
export async function openStations(
  plans: readonly StationPlan[],
  { rate }: { rate?: string } = {},
): Promise<Stations> {
  await using opening = new AsyncDisposableStack()
  const network = opening.use(
    await openNetwork({ hostCount: plans.length, ...(rate !== undefined && { rate }) }),
  )
  const swarmKey = randomBytes(32).toString('hex')
  const places = plans.map((plan, index) => ({ plan, host: network.hosts[index] }))
  const engines = await startEngines(places, opening)
  const stations = new Map<string, Station & { engine?: DockerEngine }>()
  for (const { plan, host } of places) {
    if (host === undefined) continue
    const engine = engines.get(plan.name)
    const discovery = discoveryOf(host, network)
    const node = opening.use(
      await startDdockerNode(nodeOptions(plan, { host, engine, swarmKey, discovery })),
    )
    stations.set(plan.name, { name: plan.name, host, node, ...(engine && { engine }) })
  }
  const opened = opening.move()
  const at = (name: string) => {
    const station = stations.get(name)
    if (station === undefined) throw new TypeError(`there is no station ${name}`)
    return station
  }
  return {
    network,
    at,
    engineAt: (name) => {
      const { engine, ...station } = at(name)
      if (engine === undefined) throw new TypeError(`station ${name} has no engine`)
      return { ...station, engine }
    },
    [Symbol.asyncDispose]: async () => await opened.disposeAsync(),
  }
}

async function startEngines(
  places: ReadonlyArray<{ plan: StationPlan; host: NetworkHost | undefined }>,
  opening: AsyncDisposableStack,
): Promise<Map<string, DockerEngine>> {
  const engines = new Map<string, DockerEngine>()
  const starts = places.map(async ({ plan, host }) => {
    if (plan.engine === undefined || host === undefined) return
    const start = plan.engine === 'gd' ? startDockerGd : startDockerCtr
    engines.set(plan.name, opening.use(await start({ host })))
  })
  // All must have settled, or an engine that comes up late would outlive the stack.
  const failed = (await Promise.allSettled(starts)).filter(({ status }) => status === 'rejected')
  const [first] = failed
  if (first?.status === 'rejected') throw first.reason
  return engines
}

function nodeOptions(
  plan: StationPlan,
  options: {
    host: NetworkHost
    engine: DockerEngine | undefined
    swarmKey: string
    discovery: string
  },
): DdockerNodeOptions {
  const { host, engine, swarmKey, discovery } = options
  return {
    host,
    swarmKey,
    discovery,
    nodeName: plan.name,
    ...(plan.args && { args: plan.args }),
    ...(engine && { dockerHost: engine.dockerHost }),
  }
}

function discoveryOf(host: NetworkHost, { hosts }: Network): string {
  const [first] = hosts
  return first === undefined || first === host ? 'none' : `bootstrap:${first.address}:6881`
}
