/**
 * Two hosts with a node each, and the registries of the world as they see it:
 *
 *   docker.io               TLS, tokens for everybody     registry-1.docker.io → host 1
 *   registry.example.test   TLS, no questions asked       → host 2
 *   one, two                a node on each, one swarm     hosts 3 and 4
 *
 * Engines on the hosts trust the authority of both as they trust any other: without the node they
 * pull from the registries themselves.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startDdockerNode } from './ddocker-node.ts'
import type { DdockerNode } from './ddocker-node.ts'
import { openHostView } from './host-view.ts'
import type { HostView } from './host-view.ts'
import { openLabDirectory } from './lab-directory.ts'
import { hostAt, openNetwork } from './network.ts'
import { makeTestAuthority } from './test-authority.ts'
import type { UpstreamRegistry } from './upstream-registry.ts'
import { startUpstreamRegistry } from './upstream-registry.ts'

const HUB_NAME = 'registry-1.docker.io'
const TOKEN_NAME = 'auth.docker.io'

/** The registries of a stage, as people write them. */
export const STAGE_REGISTRIES = ['docker.io', 'registry.example.test'] as const

/** One of them. */
export type StageRegistry = (typeof STAGE_REGISTRIES)[number]

/** A host on which an engine may run, with a node at 127.0.0.1:5151. */
export interface StagePlace {
  readonly host: HostView
  readonly node: DdockerNode
}

/** Registries, hosts and nodes. Disposing ends and removes everything. */
export interface UpstreamStage extends AsyncDisposable {
  readonly upstreams: Readonly<Record<StageRegistry, UpstreamRegistry>>
  readonly one: StagePlace
  readonly two: StagePlace
}

/** Sets up a stage whose registries are empty. Needs root. */
export async function openUpstreamStage(): Promise<UpstreamStage> {
  await using opening = new AsyncDisposableStack()
  const authority = await makeTestAuthority()
  const network = opening.use(await openNetwork({ hostCount: 4 }))
  const [hubHost, otherHost] = [hostAt(network, 0), hostAt(network, 1)]
  const upstreams = {
    'docker.io': opening.use(
      await startUpstreamRegistry({
        authority,
        host: hubHost,
        listen: `${hubHost.address}:443`,
        names: [HUB_NAME],
        authentication: 'bearer',
        tokens: { address: network.gateway, name: TOKEN_NAME, service: 'registry.docker.io' },
      }),
    ),
    'registry.example.test': opening.use(
      await startUpstreamRegistry({
        authority,
        host: otherHost,
        listen: `${otherHost.address}:443`,
        names: ['registry.example.test'],
      }),
    ),
  }
  const names = {
    [HUB_NAME]: hubHost.address,
    [TOKEN_NAME]: network.gateway,
    'registry.example.test': otherHost.address,
  }
  const files = opening.use(await openLabDirectory('stage'))
  const authorityFile = join(files.path, 'authority.crt')
  writeFileSync(authorityFile, authority.certificate)
  const swarmKey = randomBytes(32).toString('hex')
  const openPlace = async (index: number, discovery: string): Promise<StagePlace> => {
    const view = { names, authority: authority.certificate }
    const host = opening.use(await openHostView(hostAt(network, index), view))
    const node = await startDdockerNode({
      host,
      swarmKey,
      discovery,
      nodeName: `node-${index}`,
      upstream: 'on',
      args: ['--upstream-ca', authorityFile],
    })
    return { host, node: opening.use(node) }
  }
  const one = await openPlace(2, 'none')
  const two = await openPlace(3, `bootstrap:${one.node.peerAddress}`)
  const opened = opening.move()
  return {
    upstreams,
    one,
    two,
    [Symbol.asyncDispose]: async () => await opened.disposeAsync(),
  }
}
