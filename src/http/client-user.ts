import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { endianness } from 'node:os'

import { SingleFlight } from '../support/single-flight.ts'

// proc(5), /proc/net/tcp: columns local address, remote address and uid; 01 is an established connection
const LOCAL_COLUMN = 1
const REMOTE_COLUMN = 2
const STATE_COLUMN = 3
const UID_COLUMN = 7
const ESTABLISHED = '01'
const MAPPED_PREFIX = /^::ffff:/i
const IPV6_LOOPBACK = `${'0'.repeat(31)}1`
const IPV6_MAPPED = `${'0'.repeat(20)}ffff`
const LOOPBACK_NET = 127
// A client with an IPv6 socket may come from an IPv4 address, so it may stand in the second one.
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
    const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = socket
    const client = endpointKey(remoteAddress.replace(MAPPED_PREFIX, ''), remotePort)
    const key = `${client} ${endpointKey(localAddress.replace(MAPPED_PREFIX, ''), localPort)}`
    for (const table of TABLES) {
      const user = await this.#find(table, key)
      if (user === undefined) continue
      this.#known.set(socket, user)
      return user
    }
    return undefined
  }

  async #find(table: string, key: string): Promise<number | undefined> {
    const users = await this.#reading.run(table, () => readTable(table))
    // A table that was being read may be older than the connection: the next one is not.
    return users.get(key) ?? (await this.#reading.run(table, () => readTable(table))).get(key)
  }
}

/**
 * The user of every connection on loopback, by its endpoint and the one that it leads to. The addresses count as
 * well: from another one of 127.0.0.0/8 anybody may use a port that a connection of root has.
 */
async function readTable(path: string): Promise<Map<string, number>> {
  const users = new Map<string, number>()
  const text = await readFile(path, 'utf8').catch(() => '')
  for (const line of text.split('\n').slice(1)) {
    const columns = line.trim().split(/\s+/)
    if (columns[STATE_COLUMN] !== ESTABLISHED) continue
    const [local, remote] = [columns[LOCAL_COLUMN], columns[REMOTE_COLUMN]].map(endpointOf)
    const user = Number(columns[UID_COLUMN])
    if (!local || !remote || !Number.isInteger(user)) continue
    users.set(`${local} ${remote}`, user)
  }
  return users
}

/** An address of loopback with its port; undefined for others. */
function endpointOf(column: string | undefined): string | undefined {
  const [hex = '', port = ''] = column?.split(':') ?? []
  const address = addressOf(hex)
  return address === undefined ? undefined : endpointKey(address, Number.parseInt(port, 16))
}

function endpointKey(address: string, port: number): string {
  return `${address} ${port}`
}

/** Addresses stand there as words of 32 bits, each in the byte order of this host. */
function addressOf(hex: string): string | undefined {
  const bytes = Buffer.from(hex, 'hex')
  if (bytes.length !== 4 && bytes.length !== 16) return undefined
  if (endianness() === 'LE') bytes.swap32()
  const text = bytes.toString('hex')
  if (text === IPV6_LOOPBACK) return '::1'
  const isIPv4 = bytes.length === 4 || text.startsWith(IPV6_MAPPED)
  const last = bytes.subarray(-4)
  return isIPv4 && last[0] === LOOPBACK_NET ? last.join('.') : undefined
}
