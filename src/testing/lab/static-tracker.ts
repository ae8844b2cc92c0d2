/**
 * A tracker that always names the same peers, for clients of other authors that cannot be told a
 * peer in another way. ddocker itself uses no tracker.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A running tracker. Disposing stops it. */
export interface StaticTracker extends AsyncDisposable {
  /** The announce URL. */
  readonly url: string
}

/** Starts a tracker on an address of this machine. @param peers `address:port`, IPv4 */
export async function startStaticTracker(
  address: string,
  peers: readonly string[],
): Promise<StaticTracker> {
  const answer = announceAnswer(peers)
  const server = createServer((_, response) => response.end(answer))
  await once(server.listen(0, address), 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${address}:${port}/announce`,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function announceAnswer(peers: readonly string[]): Buffer {
  const compact = compactAddresses(peers)
  const head = `d8:intervali60e5:peers${compact.length}:`
  return Buffer.concat([Buffer.from(head), compact, Buffer.from('e')])
}

/** Four bytes of address and two of port for each peer (BEP 23). @param peers `address:port`, IPv4 */
export function compactAddresses(peers: readonly string[]): Buffer {
  return Buffer.concat(
    peers.map((peer) => {
      const [address = '', port = ''] = peer.split(':')
      const number = Number(port)
      return Buffer.from([...address.split('.').map(Number), number >> 8, number & 255])
    }),
  )
}
