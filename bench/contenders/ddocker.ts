import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { connectNode } from '../../src/control/control-client.ts'
import type { NodeOperations } from '../../src/control/control-protocol.ts'
import { mapConcurrently } from '../../src/support/concurrency.ts'
import { mustSucceed } from '../../src/testing/lab/child.ts'
import { startDdockerNode, type DdockerNode } from '../../src/testing/lab/ddocker-node.ts'
import type { NetworkHost } from '../../src/testing/lab/network.ts'
import { drainHttp } from '../drain-http.ts'
import type { Arena, Contender, Leecher, Lineup } from './contender.ts'

const IMAGE = 'bench:1'
const MET_MS = 60_000
const STARTS_AT_ONCE = 2

/** A node of a line-up, with its operations. */
export interface BenchNode {
  readonly node: DdockerNode
  readonly operations: Required<NodeOperations>
}

type Swarm = 'closed' | 'public'

/**
 * ddocker nodes of one swarm, one process each. The leechers pull by the `pull` operation, or through their
 * registry door where `byDoor` is set.
 * @param swarm closed by default; in the public one nodes do the same, but speak plain BitTorrent
 * @param nodeFlags for every node, such as `--cpu-prof --cpu-prof-dir=/tmp`
 */
export function ddocker({
  byDoor = false,
  nodeFlags = '',
  swarm = 'closed',
}: { byDoor?: boolean; nodeFlags?: string; swarm?: Swarm } = {}): Contender {
  return {
    name: 'ddocker',
    settings: { swarm, pullBy: byDoor ? 'registry door' : 'pull --no-load' },
    open: async (arena) => openLineup(arena, { byDoor, nodeFlags, swarm }),
  }
}

/** Starts nodes that know each other; the first one holds nothing yet. */
export async function openNodes(
  stack: AsyncDisposableStack,
  options: Pick<Arena, 'directory' | 'hosts'> & {
    count: number
    nodeFlags?: string
    swarm?: Swarm
  },
): Promise<BenchNode[]> {
  const swarmKey = randomBytes(32).toString('hex')
  const start = async (index: number, discovery: string) =>
    openNode(stack, { ...options, index, discovery, swarmKey })
  const first = await start(0, 'none')
  const others = Array.from({ length: options.count - 1 }, (_, index) => index + 1)
  const discovery = `bootstrap:${first.node.peerAddress}`
  const nodes = await mapConcurrently(others, STARTS_AT_ONCE, (index) => start(index, discovery))
  await untilMet([first, ...nodes])
  return [first, ...nodes]
}

/** Asks an operation of a node, with nobody watching. */
export async function ask<Request, Result>(
  operation: (
    request: Request,
    options: { signal: AbortSignal; report: () => void },
  ) => Promise<Result>,
  request: Request,
): Promise<Result> {
  return operation(request, { signal: AbortSignal.timeout(600_000), report: () => {} })
}

async function openLineup(
  arena: Arena,
  { byDoor, nodeFlags, swarm }: { byDoor: boolean; nodeFlags: string; swarm: Swarm },
): Promise<Lineup> {
  await using opening = new AsyncDisposableStack()
  const count = arena.leechers + 1
  const [seed, ...nodes] = await openNodes(opening, { ...arena, count, nodeFlags, swarm })
  if (!seed) throw new TypeError('a line-up without a seed')
  await ask(seed.operations.import, { path: arena.image.layoutPath, name: IMAGE })
  const opened = opening.move()
  return {
    seed: { pid: seed.node.pid, sentBytes: () => sentBytes(seed) },
    leechers: nodes.map((node, at) =>
      leecherOf(node, { arena, byDoor, host: arena.hosts?.[at + 1] }),
    ),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

async function openNode(
  stack: AsyncDisposableStack,
  options: Pick<Arena, 'directory' | 'hosts'> & {
    index: number
    discovery: string
    swarmKey: string
    nodeFlags?: string
    swarm?: Swarm
  },
): Promise<BenchNode> {
  const { directory, hosts, index, discovery, swarmKey, nodeFlags = '', swarm } = options
  const host = hosts?.[index]
  const dataDir = join(directory, `ddocker-${index}`)
  stack.defer(async () => rm(dataDir, { recursive: true, force: true }))
  const node = stack.use(
    await startDdockerNode({
      discovery,
      swarmKey,
      dataDir,
      nodeName: `node${index}`,
      ...(host && { host }),
      ...(swarm === 'public' && { args: ['--swarm', 'public'] }),
      wrapper: nodeFlags === '' ? [] : ['bash', '-c', `exec "$0" ${nodeFlags} "$@"`],
    }),
  )
  return { node, operations: connectNode(dataDir) }
}

async function untilMet(nodes: readonly BenchNode[]): Promise<void> {
  const deadlineMs = performance.now() + MET_MS
  for (const { operations, node } of nodes) {
    for (;;) {
      const { peers } = await ask(operations.peers, {})
      if (peers.length >= nodes.length - 1) break
      if (performance.now() > deadlineMs) {
        throw new Error(`${node.ready.nodeName} met ${peers.length} of ${nodes.length - 1} nodes`)
      }
      await delay(100)
    }
  }
}

function leecherOf(
  { node, operations }: BenchNode,
  { arena, byDoor, host }: { arena: Arena; byDoor: boolean; host: NetworkHost | undefined },
): Leecher {
  return {
    pid: node.pid,
    sentBytes: () => sentBytes({ node, operations }),
    fetch: async () => {
      if (byDoor && host) await fetchInside(host, node.registry, arena)
      else if (byDoor) await fetchByDoor(node.registry, arena)
      else await fetchByPull(operations, arena)
    },
  }
}

async function fetchByDoor(registry: string, { image }: Arena): Promise<void> {
  const name = IMAGE.split(':')[0]
  await drainHttp(registry, `/v2/local/${name}/manifests/1`)
  const { bytes } = await drainHttp(registry, `/v2/local/${name}/blobs/${image.digest}`)
  if (bytes !== image.size) throw new Error(`wanted ${image.size} bytes, got ${bytes}`)
}

/** The same from a host of its own, which this process cannot reach. */
async function fetchInside(host: NetworkHost, registry: string, { image }: Arena): Promise<void> {
  const base = `http://${registry}/v2/local/${IMAGE.split(':')[0]}`
  const get = async (path: string, timeoutMs: number) => {
    const args = ['--silent', '--fail', '--output', '/dev/null', '--write-out', '%{size_download}']
    const url = `${base}/${path}`
    return mustSucceed(await host.run('curl', [...args, url], { timeoutMs }), url).stdout
  }
  await get('manifests/1', 60_000)
  const bytes = await get(`blobs/${image.digest}`, 600_000)
  if (Number(bytes) !== image.size) throw new Error(`wanted ${image.size} bytes, got ${bytes}`)
}

async function fetchByPull(operations: Required<NodeOperations>, { image }: Arena): Promise<void> {
  const pulled = await ask(operations.pull, { reference: `local/${IMAGE}`, load: false })
  if (pulled.bytes.peers < image.size)
    throw new Error(`only ${pulled.bytes.peers} bytes came from peers`)
}

/** Sums what every peer was given; the same figure as the metric of the node. */
async function sentBytes({ operations }: BenchNode): Promise<number> {
  const { peers } = await ask(operations.peers, {})
  return (peers as { bytes: { to: number } }[]).reduce((sum, { bytes }) => sum + bytes.to, 0)
}
