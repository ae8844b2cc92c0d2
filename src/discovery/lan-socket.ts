import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'

import { systemCodeOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { lanInterfaces, type LanGroup, type LanInterface } from './lan-interfaces.ts'

interface LanSocketOptions {
  readonly group: LanGroup
  /** shared with every other client on this host; 0 picks a free one */
  readonly groupPort: number
  /** those of this host at the time of each message if left out */
  readonly interfaces?: (() => readonly LanInterface[]) | undefined
  readonly onMessage: (datagram: Buffer, source: RemoteInfo) => void
  readonly log: Log
}

/** What is said on an interface; for each anew, as a sealed message is taken once. */
type MakeMessage = (from: LanInterface) => Buffer

/** One socket in one multicast group, on all interfaces of the host. */
export class LanSocket {
  readonly #socket: Socket
  readonly #options: LanSocketOptions
  /** interfaces where something could be sent, since they are there */
  #reached: ReadonlySet<string> = new Set()
  // The interface is a setting of the socket: one message after the other.
  #sending: Promise<unknown> = Promise.resolve()
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

  /** Sends to the group, once on each interface. */
  async send(makeMessage: MakeMessage): Promise<void> {
    await this.#sendInTurn(makeMessage, () => true)
  }

  /**
   * Sends on interfaces that came up, and on those where nothing could be sent yet: a new IPv6 address is of use
   * after a second or two only (RFC 4862).
   * @returns whether something was sent
   */
  async sendWhereNew(makeMessage: MakeMessage): Promise<boolean> {
    return this.#sendInTurn(makeMessage, ({ name }) => !this.#reached.has(name))
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#socket.close(resolve)
    await promise
  }

  async #sendInTurn(
    makeMessage: MakeMessage,
    isWanted: (on: LanInterface) => boolean,
  ): Promise<boolean> {
    const sent = this.#sending.then(() => this.#sendOnAll(makeMessage, isWanted))
    this.#sending = sent
    return sent
  }

  async #sendOnAll(
    makeMessage: MakeMessage,
    isWanted: (on: LanInterface) => boolean,
  ): Promise<boolean> {
    const present = this.#join()
    const reached = new Set<string>()
    let hasSent = false
    for (const each of present) {
      if (this.#isClosed) return hasSent
      const isSent = isWanted(each) && (await this.#sendOn(each.name, makeMessage(each)))
      if (isSent || (!isWanted(each) && this.#reached.has(each.name))) reached.add(each.name)
      hasSent ||= isSent
    }
    this.#reached = reached
    return hasSent
  }

  async #sendOn(name: string, message: Buffer): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<Error | null>()
    try {
      this.#socket.setMulticastInterface(name)
      this.#socket.send(message, this.port, this.group, resolve)
    } catch (error) {
      resolve(error as Error)
    }
    const error = await promise
    if (error) this.#options.log.debug({ interface: name, code: systemCodeOf(error) }, 'not sent')
    return !error
  }

  /** Joins on the interfaces that are there now, each time: one that was away has forgotten it. */
  #join(): readonly LanInterface[] {
    if (this.#isClosed) return []
    const { group, interfaces = () => lanInterfaces(group), log } = this.#options
    const present = interfaces()
    for (const { name } of present) {
      try {
        this.#socket.addMembership(group.address, name)
      } catch (error) {
        const code = systemCodeOf(error)
        // It is a member already.
        if (code === 'EADDRINUSE') continue
        log.debug({ interface: name, code }, 'no multicast on this interface')
      }
    }
    return present
  }
}
