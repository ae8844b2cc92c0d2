import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'

import { systemCodeOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'

/** A multicast group of BEP 14. */
export interface LanGroup {
  readonly type: 'udp4' | 'udp6'
  readonly address: string
}

export const LAN_GROUPS: readonly LanGroup[] = [
  { type: 'udp4', address: '239.192.152.143' },
  { type: 'udp6', address: 'ff15::efc0:988f' },
]

interface LanSocketOptions {
  readonly group: LanGroup
  /** shared with every other client on this host; 0 picks a free one */
  readonly groupPort: number
  /** IPv4 addresses, or `::%name` for IPv6; those of this host at the time of each message if left out */
  readonly interfaces?: readonly string[] | undefined
  readonly onMessage: (datagram: Buffer, source: RemoteInfo) => void
  readonly log: Log
}

const MAX_INTERFACES = 32

/** One socket in one multicast group, on all interfaces of the host. */
export class LanSocket {
  readonly #socket: Socket
  readonly #options: LanSocketOptions
  readonly #joined = new Set<string>()
  // The interface is a setting of the socket: one message after the other.
  #sending: Promise<void> = Promise.resolve()
  #isClosed = false

  private constructor(socket: Socket, options: LanSocketOptions) {
    this.#socket = socket
    this.#options = options
    socket.on('message', options.onMessage)
    socket.on('error', (error) => options.log.debug({ code: systemCodeOf(error) }, 'LAN error'))
    this.#join()
  }

  /** @throws the system's error where there is no such family or the port is taken for one alone */
  static async open(options: LanSocketOptions): Promise<LanSocket> {
    const { type } = options.group
    const socket = createSocket({ type, reuseAddr: true, ipv6Only: type === 'udp6' })
    try {
      socket.bind(options.groupPort)
      await once(socket, 'listening')
      return new LanSocket(socket, options)
    } catch (error) {
      socket.close()
      throw error
    }
  }

  get port(): number {
    return this.#socket.address().port
  }

  get group(): string {
    return this.#options.group.address
  }

  /** Sends to the group, once on each interface: a message for each, as a sealed one is taken once. */
  async send(makeMessage: () => Buffer): Promise<void> {
    this.#sending = this.#sending.then(() => this.#sendOnAll(makeMessage))
    await this.#sending
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#socket.close(resolve)
    await promise
  }

  async #sendOnAll(makeMessage: () => Buffer): Promise<void> {
    for (const name of this.#join()) {
      if (this.#isClosed) return
      await this.#sendOn(name, makeMessage())
    }
  }

  async #sendOn(name: string, message: Buffer): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<Error | null>()
    try {
      this.#socket.setMulticastInterface(name)
      this.#socket.send(message, this.port, this.group, resolve)
    } catch (error) {
      resolve(error as Error)
    }
    const error = await promise
    if (error) this.#options.log.debug({ interface: name, code: systemCodeOf(error) }, 'not sent')
  }

  /** Joins on the interfaces that are there now: a laptop changes its networks. */
  #join(): string[] {
    if (this.#isClosed) return []
    const { group, interfaces = interfacesOf(group) } = this.#options
    for (const name of interfaces) {
      try {
        if (!this.#joined.has(name)) this.#socket.addMembership(group.address, name)
        this.#joined.add(name)
      } catch (error) {
        const code = systemCodeOf(error)
        this.#options.log.debug({ interface: name, code }, 'no multicast on this interface')
      }
    }
    for (const name of this.#joined) if (!interfaces.includes(name)) this.#joined.delete(name)
    return [...this.#joined]
  }
}

function interfacesOf({ type }: LanGroup): string[] {
  const family = type === 'udp4' ? 'IPv4' : 'IPv6'
  const found = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses
      .filter((address) => address.family === family && !address.internal)
      .map(({ address }) => (type === 'udp4' ? address : `::%${name}`)),
  )
  // Without a network the nodes of one host still meet.
  if (found.length === 0 && type === 'udp4') return ['127.0.0.1']
  return [...new Set(found)].slice(0, MAX_INTERFACES)
}
