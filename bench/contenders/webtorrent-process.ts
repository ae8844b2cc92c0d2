/**
 * webtorrent as it comes: its own picking, choking and storing. Turned off is only what would reach for other
 * machines (trackers, DHT, LSD, UPnP, NAT-PMP); every process is told of all others.
 */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'

import WebTorrent, { type Torrent } from 'webtorrent'

import { lineOptions, obeyLines } from './line-orders.ts'

const { role, torrent: torrentPath, directory, host, port } = lineOptions()
const { utp } = process.env['BENCH_UTP'] === '0' ? { utp: false } : { utp: true }
const client = new WebTorrent({
  dht: false,
  tracker: false,
  lsd: false,
  natUpnp: false,
  natPmp: false,
  utp,
  // uTP listens on the number alone.
  torrentPort: utp ? port : { host, port },
})
client.on('error', (error: Error) => process.stderr.write(`${error.stack}\n`))

interface StockTorrent extends Torrent {
  readonly uploaded: number
  readonly done: boolean
  addPeer(address: string): void
}

const torrent = client.add(await readFile(torrentPath), {
  path: directory,
  announce: [],
  skipVerify: role === 'seed',
}) as StockTorrent
await once(torrent, 'ready')

await obeyLines({
  sentBytes: () => torrent.uploaded,
  fetch: async (peers) => {
    for (const peer of peers) torrent.addPeer(peer)
    if (!torrent.done) await once(torrent, 'done')
  },
})
