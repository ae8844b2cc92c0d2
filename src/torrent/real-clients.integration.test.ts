/** In the open swarm any BitTorrent client is a peer: all that they are told is one node of a DHT. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import type { TorrentResult } from '../control/control-protocol.ts'
import { digestOf, hexOf, parseDigest, type Digest } from '../oci/digest.ts'
import type { TransferStatus } from '../status/node-status.ts'
import {
  startAria2,
  startDhtNodes,
  startLibtorrent,
  startTransmission,
  type TorrentClient,
} from '../testing/lab/bittorrent-clients.ts'
import { startDdockerNode, type DdockerNode } from '../testing/lab/ddocker-node.ts'
import { requireLab } from '../testing/lab/lab-requirements.ts'
import { hostAt, openNetwork, type NetworkHost } from '../testing/lab/network.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { writeLayout } from '../testing/testnet.ts'

const MIB = 1024 * 1024
const PORT = 7000
// Half a minute alone on a machine.
const CLIENT_MS = 180_000
const DHT_NODES = 12

test('aria2, libtorrent and Transmission fetch layers from a node that only a DHT names', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'libtorrent', 'aria2', 'transmission'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 7 })
  await using dht = await startDhtNodes({ host: hostAt(network, 0), port: PORT, count: DHT_NODES })
  const { bootstrap, addresses } = dht
  await using node = await startPublicNode('seed', { host: hostAt(network, 1), bootstrap })
  const fetches: { open: OpenClient; by: 'path' | 'magnet'; mib: number }[] = [
    { open: startAria2, by: 'path', mib: 4 },
    { open: startAria2, by: 'magnet', mib: 9 },
    { open: startLibtorrent, by: 'path', mib: 9.25 },
    { open: startLibtorrent, by: 'magnet', mib: 4.25 },
    { open: startTransmission, by: 'path', mib: 4.5 },
  ]
  // A layer for each, so that it has its bytes from nobody but the node; the last piece is one byte.
  const sizes = fetches.map(({ mib }) => mib * MIB + 1)
  const image = await writeLayout(join(dir.path, 'image'), sizes)
  await node.cliJson(['import', image.path, '--name', 'local/app:1'])
  const torrents = await writeTorrents(node, join(dir.path, 'torrents'))

  const fetchLayer = async ({ open, by }: (typeof fetches)[number], index: number) => {
    const digest = image.layers[index]?.digest
    const torrent = digest && torrents.get(digest)?.[by]
    assert.ok(torrent)
    const directory = join(dir.path, `client ${index}`)
    await mkdir(directory)
    const startedAtMs = performance.now()
    const host = hostAt(network, 2 + index)
    const options = { torrent, directory, port: PORT, host, bootstrap, savedNodes: addresses }
    await using client = await open(options)
    await client.waitForCompletion({ timeoutMs: CLIENT_MS })
    const ms = Math.round(performance.now() - startedAtMs)
    t.diagnostic(`${open.name} by ${by}: ${sizes[index]} bytes after ${ms} ms`)
    assert.equal(digestOf(await readFile(join(directory, hexOf(digest)))), digest)
  }
  await Promise.all(fetches.map(fetchLayer))
})

test('a node finishes a layer from another client when no node has it any more, then is the one that has it', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'libtorrent'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 5 })
  await using dht = await startDhtNodes({ host: hostAt(network, 0), port: PORT, count: DHT_NODES })
  const { bootstrap } = dht
  const args = ['--upload-limit', '1MiB/s']
  await using seed = await startPublicNode('seed', { host: hostAt(network, 1), bootstrap, args })
  const pullerHost = hostAt(network, 2)
  await using puller = await startPublicNode('puller', { host: pullerHost, bootstrap })
  const image = await writeLayout(join(dir.path, 'image'), [9 * MIB + 1])
  const [layer] = image.layers
  assert.ok(layer)
  await seed.cliJson(['import', image.path, '--name', 'local/app:1'])
  const torrents = await writeTorrents(seed, join(dir.path, 'torrents'))
  const { path: torrent, magnet } = torrents.get(layer.digest) ?? {}
  assert.ok(torrent && magnet)

  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  const fetchLayer = async (name: string) => {
    const url = `http://${puller.registry}/v2/local/app/blobs/${layer.digest}`
    const path = join(dir.path, name)
    const curl = ['--silent', '--fail', '--max-time', '60', '--output', path, url]
    return { ...(await pullerHost.run('curl', curl, { timeoutMs: 90_000 })), path }
  }
  const first = fetchLayer('first')
  const begun = await transferOnce(puller, ({ bytes }) => bytes.peers >= 2 * MIB)
  assert.equal(begun.state, 'moving')
  await seed.kill()
  assert.notEqual((await first).code, 0)

  const directory = join(dir.path, 'client')
  await mkdir(directory)
  await writeFile(join(directory, hexOf(layer.digest)), layer.bytes)
  const host = hostAt(network, 3)
  await using client = await startLibtorrent({ torrent, directory, port: PORT, host, bootstrap })
  await client.waitForCompletion()
  const startedAtMs = performance.now()
  let second = await fetchLayer('second')
  // libtorrent announces itself after its lookup, which may wait 15 s for the DHT node of the killed seed.
  for (let retry = 0; second.code !== 0 && retry < 3; retry += 1)
    second = await fetchLayer('second')
  assert.equal(second.code, 0, puller.log.slice(-2000))
  assert.equal(digestOf(await readFile(second.path)), layer.digest)
  const done = await transferOnce(puller, ({ state }) => state === 'done')
  t.diagnostic(`${JSON.stringify(done.bytes)} in ${Math.round(performance.now() - startedAtMs)} ms`)
  assert.ok(done.bytes.store >= 2 * MIB)
  assert.equal(done.bytes.store + done.bytes.peers, layer.bytes.length)
  assert.deepEqual(
    done.peers.map(({ peer }) => peer),
    [client.address],
  )

  await client[Symbol.asyncDispose]()
  const last = { torrent: magnet, directory: join(dir.path, 'last'), host: hostAt(network, 4) }
  await mkdir(last.directory)
  await using fetcher = await startLibtorrent({ ...last, port: PORT, bootstrap })
  await fetcher.waitForCompletion()
  assert.equal(digestOf(await readFile(join(last.directory, hexOf(layer.digest)))), layer.digest)
})

type OpenClient = (options: {
  torrent: string
  directory: string
  port: number
  host: NetworkHost
  bootstrap: string
  savedNodes: readonly string[]
}) => Promise<TorrentClient>

async function startPublicNode(
  nodeName: string,
  { host, bootstrap, args = [] }: { host: NetworkHost; bootstrap: string; args?: string[] },
): Promise<DdockerNode> {
  const discovery = `bootstrap:${bootstrap}`
  return startDdockerNode({ nodeName, host, discovery, args: ['--swarm', 'public', ...args] })
}

/** Where the .torrent file of each blob of the image is, and its magnet link. */
async function writeTorrents(
  node: DdockerNode,
  folder: string,
): Promise<Map<Digest, { path: string; magnet: string }>> {
  const answer = await node.cliJson(['torrent', 'local/app:1', '-o', folder])
  const { torrents } = answer as {
    torrents: (TorrentResult['torrents'][number] & { path: string })[]
  }
  return new Map(
    torrents.map(({ digest, path, magnet }) => [parseDigest(digest), { path, magnet }]),
  )
}

/** The newest transfer of more than a MiB, once it is as wanted. */
async function transferOnce(
  node: DdockerNode,
  isWanted: (transfer: TransferStatus) => boolean,
): Promise<TransferStatus> {
  const deadline = AbortSignal.timeout(60_000)
  for (;;) {
    const { body } = await node.get('/api/v1/transfers')
    const { transfers } = JSON.parse(body) as { transfers: TransferStatus[] }
    const newest = transfers.find(({ size }) => size > MIB)
    if (newest && isWanted(newest)) return newest
    if (deadline.aborted)
      throw new Error(`the transfer is not as wanted: ${JSON.stringify(newest)}`)
    await setTimeout(100)
  }
}
