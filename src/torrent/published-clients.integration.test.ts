/** A closed swarm of one publishes an image: everybody's BitTorrent clients have it from a magnet link and a DHT, and nothing else. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import type { PublishResult, TorrentResult } from '../control/control-protocol.ts'
import { digestOf, hexOf, parseDigest } from '../oci/digest.ts'
import {
  startAria2,
  startDhtNodes,
  startLibtorrent,
  startTransmission,
  type TorrentClient,
} from '../testing/lab/bittorrent-clients.ts'
import { startDdockerNode } from '../testing/lab/ddocker-node.ts'
import { requireLab } from '../testing/lab/lab-requirements.ts'
import { hostAt, openNetwork, type NetworkHost } from '../testing/lab/network.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { writeLayout } from '../testing/testnet.ts'

const MIB = 1024 * 1024
const PORT = 7000
const CLIENT_MS = 180_000
const DHT_NODES = 12
// The last piece is one byte.
const SIZE = 4 * MIB + 1

type OpenClient = (options: {
  torrent: string
  directory: string
  port: number
  host: NetworkHost
  bootstrap: string
  peers?: readonly string[]
  savedNodes: readonly string[]
}) => Promise<TorrentClient>

test('aria2, Transmission and libtorrent fetch what a closed swarm published by magnet link alone, and nothing else', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'libtorrent', 'aria2', 'transmission'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 7 })
  await using dht = await startDhtNodes({ host: hostAt(network, 0), port: PORT, count: DHT_NODES })
  const { bootstrap, addresses } = dht
  await using node = await startDdockerNode({
    host: hostAt(network, 1),
    discovery: 'none',
    publicDiscovery: `bootstrap:${bootstrap}`,
  })
  const clients: OpenClient[] = [startAria2, startTransmission, startLibtorrent]
  // A layer for each, so that it has its bytes from nobody but the node.
  const shown = await writeLayout(join(dir.path, 'shown'), [SIZE, SIZE, SIZE])
  const kept = await writeLayout(join(dir.path, 'kept'), [SIZE])
  await node.cliJson(['import', shown.path, '--name', 'local/shown:1'])
  await node.cliJson(['import', kept.path, '--name', 'local/kept:1'])
  const published = (await node.cliJson(['publish', 'local/shown:1', '--own'])) as PublishResult
  const magnets = new Map(
    published.images.flatMap(({ blobs }) => blobs.map(({ digest, magnet }) => [digest, magnet])),
  )
  const { torrents } = (await node.cliJson([
    'torrent',
    'local/kept:1',
    '-o',
    join(dir.path, 'torrents'),
  ])) as TorrentResult
  const secret = torrents.find(({ digest }) => digest === kept.layers[0]?.digest)
  assert.ok(secret)

  const open = async (client: OpenClient, magnet: string, hostIndex: number, peers?: string[]) => {
    const directory = join(dir.path, `client ${hostIndex}`)
    await mkdir(directory)
    const host = hostAt(network, hostIndex)
    const options = { torrent: magnet, directory, port: PORT, host, bootstrap }
    return {
      client: await client({ ...options, ...(peers && { peers }), savedNodes: addresses }),
      directory,
    }
  }
  // They are told where the node is, on top of all that the others know: of both its ports.
  const ports = [published.publicNode?.port, node.ready.peerPort]
  const atNode = ports.map((port) => `${hostAt(network, 1).address}:${port}`)
  await using nosy = (await open(startLibtorrent, secret.magnet, 5, atNode)).client
  await using other = (await open(startAria2, secret.magnet, 6, atNode)).client

  const fetchLayer = async (client: OpenClient, index: number) => {
    const digest = shown.layers[index]?.digest
    const magnet = digest && magnets.get(digest)
    assert.ok(magnet && !magnet.includes('x.pe') && !magnet.includes('tr='))
    const startedAtMs = performance.now()
    const { client: running, directory } = await open(client, magnet, 2 + index)
    await using _ = running
    await running.waitForCompletion({ timeoutMs: CLIENT_MS })
    const ms = Math.round(performance.now() - startedAtMs)
    t.diagnostic(`${client.name} by magnet: ${SIZE} bytes after ${ms} ms`)
    assert.equal(digestOf(await readFile(join(directory, hexOf(digest)))), digest)
  }
  await Promise.all(clients.map(fetchLayer))

  // Not even the name of its file, which is in the metadata.
  const name = hexOf(parseDigest(secret.digest))
  for (const hostIndex of [5, 6]) {
    const files = await readdir(join(dir.path, `client ${hostIndex}`), { recursive: true })
    assert.deepEqual(
      files.filter((file) => file.includes(name)),
      [],
    )
  }
  assert.match(other.log, new RegExp(`Connecting to ${atNode[0]}`))
  assert.doesNotMatch(nosy.log + other.log, /^(bittorrent-)?complete$/m)
})
