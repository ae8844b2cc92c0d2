/**
 * One network for pulls through a node and without one:
 *
 *   host 0  registry           its link alone has the rate: it is far away
 *   host 1  Docker, and the nodes that it pulls through, each of a swarm of its own
 *   host 2  the peers of those nodes
 */
import { randomBytes } from 'node:crypto'

import { mustSucceed } from '../src/testing/lab/child.ts'
import { startDdockerNode, type DdockerNode } from '../src/testing/lab/ddocker-node.ts'
import type { DockerEngine } from '../src/testing/lab/docker-engine.ts'
import { startDockerGd } from '../src/testing/lab/docker-gd.ts'
import { hostAt, openNetwork, type NetworkHost } from '../src/testing/lab/network.ts'
import { startRegistryServer } from '../src/testing/lab/registry-server.ts'

/** The parts; disposing ends them all. */
export interface PullStage extends AsyncDisposable {
  /** `address:port` of the registry */
  readonly registry: string
  readonly registryHost: NetworkHost
  readonly engineHost: NetworkHost
  readonly peerHost: NetworkHost
  readonly engine: DockerEngine
  /** Starts a node beside the engine, with a peer on the other host where that is wanted. */
  startNode(name: string): Promise<DdockerNode>
  startPair(name: string): Promise<{ node: DdockerNode; peer: DdockerNode }>
}

const REGISTRY_PORT = 5151
const PEER_PORT = 6881

/** Opens the network with a registry and an engine. Needs root. */
export async function openPullStage(): Promise<PullStage> {
  await using opening = new AsyncDisposableStack()
  const network = opening.use(await openNetwork({ hostCount: 3 }))
  const [registryHost, engineHost, peerHost] = [0, 1, 2].map((index) => hostAt(network, index))
  if (!registryHost || !engineHost || !peerHost) throw new TypeError('wanted three hosts')
  const registry = opening.use(await startRegistryServer({ host: registryHost }))
  const engine = opening.use(
    await startDockerGd({
      host: engineHost,
      daemonJson: { 'insecure-registries': [registry.address] },
    }),
  )
  const opened = opening.move()
  let nodeCount = 0
  const start = async (options: {
    name: string
    host: NetworkHost
    from?: DdockerNode
    key: string
  }) => {
    const { name, host, from, key } = options
    nodeCount += 1
    return opened.use(
      await startDdockerNode({
        host,
        nodeName: name,
        swarmKey: key,
        discovery: from ? `bootstrap:${from.peerAddress}` : 'none',
        registry: `127.0.0.1:${REGISTRY_PORT + nodeCount}`,
        peerPort: PEER_PORT + nodeCount,
        upstream: 'on',
        args: ['--insecure-upstream', registry.address, '--docker-config', 'none'],
      }),
    )
  }
  const newKey = () => randomBytes(32).toString('hex')
  const startNode = (name: string) => start({ name, host: engineHost, key: newKey() })
  const startPair = async (name: string) => {
    const key = newKey()
    const peer = await start({ name: `${name}-peer`, host: peerHost, key })
    const node = await start({ name, host: engineHost, from: peer, key })
    return { node, peer }
  }
  return {
    registry: registry.address,
    registryHost,
    engineHost,
    peerHost,
    engine,
    startNode,
    startPair,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

/** What an image of the registry is called through a node: a name may hold no colon. */
export function nameThrough(node: DdockerNode, registry: string, name: string): string {
  return `${node.registry}/${registry.replace(':', '__')}/${name}`
}

/** Seconds of one `docker pull`; the image is removed afterwards. */
export async function timePull(engine: DockerEngine, reference: string): Promise<number> {
  const startedMs = performance.now()
  const pulled = await engine.docker(['pull', '--quiet', reference], { timeoutMs: 600_000 })
  const seconds = (performance.now() - startedMs) / 1000
  mustSucceed(pulled, `docker pull ${reference}`)
  await engine.dockerOk(['image', 'rm', '--force', reference])
  return seconds
}
