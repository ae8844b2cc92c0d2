import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'

import { SingleFlight } from '../support/single-flight.ts'

// proc(5), /proc/net/tcp: columns local address, remote address and uid; 01 is an established connection
const LOCAL_COLUMN = 1
const REMOTE_COLUMN = 2
const STATE_COLUMN = 3
const UID_COLUMN = 7
const ESTABLISHED = '01'
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6']

/**
 * Which user of this host is at the other end of a loopback connection, by the kernel's tables of TCP connections.
 * Undefined where the system has no such tables, or the client is not on this host or in another network namespace.
 */
export class ClientUsers {
  readonly #reading = new SingleFlight<Map<string, number>>()
  readonly #known = new WeakMap<Socket, number>()

  async userOf(socket: Socket): Promise<number | undefined> {
    const known = this.#known.get(socket)
    if (known !== undefined) return known
    const { remotePort, localPort } = socket
    if (remotePort === undefined || localPort === undefined) return undefined
    const key = `${remotePort} ${localPort}`
    const users = await this.#reading.run('all', readTables)
    // The tables that were being read may be older than the connection: the next ones are not.
    const user = users.get(key) ?? (await this.#reading.run('all', readTables)).get(key)
    if (user !== undefined) this.#known.set(socket, user)
    return user
  }
}

/** The user of every connection between two ports of loopback, by `<port> <port it leads to>`. */
async function readTables(): Promise<Map<string, number>> {
  const users = new Map<string, number>()
  for (const path of TABLES) {
    const text = await readFile(path, 'utf8').catch(() => '')
    for (const line of text.split('\n').slice(1)) {
      const columns = line.trim().split(/\s+/)
      if (columns[STATE_COLUMN] !== ESTABLISHED) continue
      const [local, remote] = [columns[LOCAL_COLUMN], columns[REMOTE_COLUMN]].map(endpointOf)
      const user = Number(columns[UID_COLUMN])
      if (!local?.isLoopback || !remote?.isLoopback || !Number.isInteger(user)) continue
      users.set(`${local.port} ${remote.port}`, user)
    }
  }
  return users
}

function endpointOf(column: string | undefined): { isLoopback: boolean; port: number } | undefined {
  const [address = '', port = ''] = column?.split(':') ?? []
  // Addresses are words in the byte order of the host.
  const isIPv4 = address.length === 8 && (address.startsWith('7F') || address.endsWith('7F'))
  const isIPv6 =
    address === '00000000000000000000000001000000' ||
    address === '00000000000000000000000000000001' ||
    /^0{16}(?:FFFF0000|0000FFFF)(?:[0-9A-F]{6}7F|7F[0-9A-F]{6})$/.test(address)
  return { isLoopback: isIPv4 || isIPv6, port: Number.parseInt(port, 16) }
}
