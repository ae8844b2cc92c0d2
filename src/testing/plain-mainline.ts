/** For tests: a stand-in for mainline, of plain nodes that keep items (BEP 44) and say who asks (BEP 42). */
import { createPublicKey, verify } from 'node:crypto'
import { once } from 'node:events'

import DHT, { type DhtNode, type DhtRpc, type DhtSource } from 'bittorrent-dht'

import { formatPeerAddress, type PeerAddress } from '../discovery/discovery.ts'

/** What a node keeps: all of it, as whoever runs the node can see it. */
export interface KeptItem {
  readonly node: number
  readonly target: string
  readonly v: Buffer
  readonly k?: Buffer
  readonly salt?: Buffer
  readonly sig?: Buffer
  readonly seq?: number
}

interface PlainMainlineOptions {
  readonly nodeCount: number
  /** one for each node, or for all of them; default 127.0.0.1 */
  readonly hosts?: readonly string[]
  /** of all nodes, as on hosts of their own; free ones by default */
  readonly port?: number
  /** BEP 42: answers say which address asked; default true */
  readonly isSayingAddresses?: boolean
}

interface ValueRecords {
  readonly cache: Readonly<Record<string, { readonly value: Omit<KeptItem, 'node' | 'target'> }>>
}

/** The insides that the stand-in needs; the package has no types. */
interface PlainDht extends DHT {
  readonly _values: ValueRecords
  readonly _rpc: DhtRpc & {
    readonly socket: {
      response: (to: DhtSource, query: { t: Buffer }, reply: unknown, done?: () => void) => void
      send: (to: DhtSource, message: unknown, done?: () => void) => void
      prependListener: (
        event: 'query',
        listener: (query: { ro?: number }, from: { address: string; port: number }) => void,
      ) => void
    }
  }
  address(): { address: string; port: number }
  listen(port?: number, host?: string): void
}

const PUBLIC_KEY_HEAD = Buffer.from('302a300506032b6570032100', 'hex')

const NODE_OPTIONS = { bootstrap: false, verify: isSigned, timeout: 500 } as const

/** Plain nodes that know each other, closed with `await using`. */
export class PlainMainline implements AsyncDisposable {
  readonly #nodes: PlainDht[] = []
  readonly #askers = new Map<string, 'reader' | 'node'>()

  static async open(options: PlainMainlineOptions): Promise<PlainMainline> {
    const { nodeCount, hosts = [], port = 0, isSayingAddresses = true } = options
    const mainline = new PlainMainline()
    for (let index = 0; index < nodeCount; index += 1) {
      const node = new DHT(NODE_OPTIONS) as PlainDht
      mainline.#nodes.push(node)
      if (isSayingAddresses) sayAddresses(node)
      leaveReadersOut(node, mainline.#askers)
      node.listen(port, hosts[index % hosts.length] ?? '127.0.0.1')
      await once(node, 'listening')
    }
    await mainline.#introduce()
    return mainline
  }

  /** Where others start from. */
  get router(): PeerAddress {
    return this.addressOf(0)
  }

  addressOf(index: number): PeerAddress {
    const { address: host, port } = this.#node(index).address()
    return { host, port }
  }

  /** Everything that all of them keep. */
  kept(): KeptItem[] {
    return this.#nodes.flatMap(({ _values: values }, node) =>
      Object.entries(values.cache).map(([target, { value }]) => {
        const { v, k, salt, sig, seq } = value
        return {
          node,
          target,
          v,
          ...(k && { k }),
          ...(salt && { salt }),
          ...(sig && { sig }),
          ...(seq !== undefined && { seq }),
        }
      }),
    )
  }

  /** Who asked, apart from its own nodes, and whether it only reads (BEP 43), by `host:port`. */
  askers(): ReadonlyMap<string, 'reader' | 'node'> {
    const own = this.#nodes.map((_, index) => formatPeerAddress(this.addressOf(index)))
    return new Map([...this.#askers].filter(([address]) => !own.includes(address)))
  }

  /** Ends the last `count` nodes, of which the others know nothing yet. */
  async silence(count: number): Promise<void> {
    await Promise.all(this.#nodes.splice(-count).map(destroyed))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#nodes.map(destroyed))
  }

  /** As after a long time: everybody has looked up the neighbourhood of its own id. */
  async #introduce(): Promise<void> {
    const { router } = this
    for (const node of this.#nodes.slice(1)) {
      const met = once(node, 'node')
      node.addNode(router)
      await met
    }
    for (const node of this.#nodes) {
      const { promise, resolve } = Promise.withResolvers<void>()
      node.lookup(node.nodeId.toString('hex'), () => resolve())
      await promise
    }
  }

  #node(index: number): PlainDht {
    const node = this.#nodes[index]
    if (!node) throw new RangeError(`there is no node ${index}`)
    return node
  }
}

async function destroyed(node: DHT): Promise<void> {
  await new Promise<void>((closed) => node.destroy(closed))
}

/** BEP 42: every answer says which address asked. */
function sayAddresses({ _rpc: { socket } }: PlainDht): void {
  socket.response = (to, { t }, reply, done) => {
    const ip = Buffer.alloc(6)
    const host = to.address ?? to.host ?? ''
    ip.set(host.split('.').map(Number))
    ip.writeUInt16BE(to.port, 4)
    socket.send(to, { ip, t, y: 'r', r: reply }, done)
  }
}

/** BEP 43: who says that it only reads comes into no routing table. */
function leaveReadersOut({ _rpc: rpc }: PlainDht, askers: Map<string, 'reader' | 'node'>): void {
  rpc.socket.prependListener('query', ({ ro }, { address: host, port }) => {
    askers.set(formatPeerAddress({ host, port }), ro === 1 ? 'reader' : 'node')
  })
  const { _addNode: unchecked } = rpc
  const addNode = unchecked.bind(rpc)
  const addOthers = (node: DhtNode): void => {
    if (askers.get(formatPeerAddress(node)) !== 'reader') addNode(node)
  }
  Object.assign(rpc, { _addNode: addOthers })
}

function isSigned(signature: Buffer, message: Buffer, publicKey: Buffer): boolean {
  const key = Buffer.concat([PUBLIC_KEY_HEAD, publicKey])
  const spki = createPublicKey({ key, format: 'der', type: 'spki' })
  return verify(null, message, spki, signature)
}
