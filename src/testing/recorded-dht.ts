import { createSocket } from 'node:dgram'
import { once } from 'node:events'

import DHT from 'bittorrent-dht'

import { decodeDatagram } from '../discovery/krpc-bencode.ts'

/** A stand-in for mainline on loopback: nodes as others run them. What they are asked and told is noted. */
export interface RecordedDht extends AsyncDisposable {
  /** `127.0.0.1:port` of one of them */
  readonly bootstrap: string
  /** the ports that were announced, by key (40 hex digits) */
  readonly announced: ReadonlyMap<string, ReadonlySet<number>>
  /** keys that somebody looked for, or announced */
  readonly named: ReadonlySet<string>
  /** ports of others that datagrams came from */
  readonly sources: ReadonlySet<number>
}

/** Opens `count` nodes that know each other. */
export async function openRecordedDht(count = 6): Promise<RecordedDht> {
  const announced = new Map<string, Set<number>>()
  const named = new Set<string>()
  const sources = new Set<number>()
  const nodes: DHT[] = []
  const ports: number[] = []
  for (let index = 0; index < count; index += 1) {
    const socket = createSocket('udp4')
    socket.on('message', (datagram, { port }) => {
      sources.add(port)
      const { q, key, port: said } = readQuestion(datagram)
      if (key !== undefined) named.add(key)
      if (key === undefined || said === undefined || q !== 'announce_peer') return
      announced.set(key, (announced.get(key) ?? new Set()).add(said))
    })
    const dht = new DHT({ socket, bootstrap: false })
    const opening = once(socket, 'listening')
    ;(dht as unknown as { listen(port: number, host: string): void }).listen(0, '127.0.0.1')
    await opening
    ports.push(socket.address().port)
    nodes.push(dht)
  }
  for (const dht of nodes) for (const port of ports) dht.addNode({ host: '127.0.0.1', port })
  const isOwn = new Set(ports)
  return {
    bootstrap: `127.0.0.1:${ports[0]}`,
    announced,
    named,
    get sources() {
      return new Set([...sources].filter((port) => !isOwn.has(port)))
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(nodes.map((dht) => new Promise<void>((done) => dht.destroy(done))))
    },
  }
}

/** A question about a key (BEP 5): `get_peers` or `announce_peer`. */
function readQuestion(datagram: Buffer): { q?: string; key?: string; port?: number } {
  const message = decodeDatagram(datagram)
  const [q, a] = message instanceof Map ? [message.get('q'), message.get('a')] : []
  if (!Buffer.isBuffer(q) || !(a instanceof Map)) return {}
  const [key, port] = [a.get('info_hash'), a.get('port')]
  return {
    q: q.toString(),
    ...(Buffer.isBuffer(key) && { key: key.toString('hex') }),
    ...(typeof port === 'number' && { port }),
  }
}
