/** What tests of publishing ask of their nodes. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'

import type { PublishRequest, PublishResult } from '../control/control-protocol.ts'
import type { Digest } from '../oci/digest.ts'
import type { ImageStatus, NodeStatus } from '../status/node-status.ts'
import { writeLayout, type LayoutFixture, type TestNode } from './testnet.ts'

/** For tests: makes an image of layers of these sizes, and imports it under this name. */
export async function importImage(
  node: TestNode,
  name: string,
  sizes: readonly number[],
): Promise<LayoutFixture> {
  const image = await writeLayout(join(node.dataDir, `../${name.replaceAll(/\W/g, '-')}`), sizes)
  await node.run(node.node.operations.import, { path: image.path, name })
  return image
}

/** For tests: `publish`, without --own unless it is said. */
export async function publish(
  node: TestNode,
  references: readonly string[],
  options: Partial<PublishRequest> = {},
): Promise<PublishResult> {
  const request = { references, own: false, metainfo: false, ...options }
  return await node.run(node.node.operations.publish, request)
}

/** For tests: `unpublish`. */
export async function unpublish(node: TestNode, references: readonly string[]) {
  return await node.run(node.node.operations.unpublish, { references })
}

/** For tests: `pull --no-load`. */
export async function pull(node: TestNode, reference: string) {
  return await node.run(node.node.operations.pull, { reference, load: false })
}

/** For tests: `status`. */
export async function statusOf(node: TestNode): Promise<NodeStatus> {
  return (await node.run(node.node.operations.status, {})) as NodeStatus
}

/** For tests: what `ls` says is public. */
export async function publishedNames(node: TestNode): Promise<(string | undefined)[]> {
  const { images } = await node.run(node.node.operations.list, {})
  return (images as ImageStatus[]).filter(({ published }) => published).map(({ name }) => name)
}

/** For tests: manifest, config and layers. */
export function digestsOf({ manifest, config, layers }: LayoutFixture): Digest[] {
  return [manifest, config, ...layers.map(({ digest }) => digest)]
}

/** Sockets of this process that wait for others. */
export function openSockets(): { tcp: number; udp: number } {
  const all = process.getActiveResourcesInfo()
  const countOf = (kind: string) => all.filter((each) => each === kind).length
  return { tcp: countOf('TCPServerWrap'), udp: countOf('UDPWrap') }
}

/** For tests: whether anybody takes connections there. */
export async function isListening(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  const outcome = await Promise.race([
    once(socket, 'connect').then(
      () => true,
      () => false,
    ),
    once(socket, 'close').then(() => false),
  ])
  socket.destroy()
  return outcome
}
