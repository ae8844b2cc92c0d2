import { lookup } from 'node:dns/promises'

import { LRUCache } from 'lru-cache'

import { messageOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { deadline, abortable } from '../support/deadline.ts'
import { formatPeerAddress, type PeerAddress } from './discovery.ts'

/** The part of a routing table that the keeper needs. */
export interface ContactTable {
  isEmpty(): boolean
  has(address: PeerAddress): boolean
  /** Asks whether there is a node; if it answers it is in the table. */
  ping(address: PeerAddress): void
}

interface ContactKeeperOptions {
  readonly table: ContactTable
  /** nodes that are named in the configuration; hosts may be names */
  readonly contacts: readonly PeerAddress[]
  /** nodes of an earlier run: asked only while the table is empty, as are those of this one */
  readonly savedNodes: readonly PeerAddress[]
  /** in which a ping is answered or lost */
  readonly pingTimeoutMs: number
  readonly log: Log
  readonly resolve?: (host: string) => Promise<readonly string[]>
  readonly random?: () => number
}

const FIRST_RETRY_MS = 250
const MAX_RETRY_MS = 10_000
// With others in the table a contact may still be in another half of the swarm: it is asked now and then.
const REJOIN_MS = 60_000
const RESOLVE_TIMEOUT_MS = 3_000
const MAX_ADDRESSES_PER_NAME = 64
const MAX_REMEMBERED = 200

/**
 * Gets this node into the DHT, and back: asks its contacts at once and, with back-off, for as long as the
 * routing table is empty, so that it does not matter who of them starts first. One timer.
 */
export class ContactKeeper {
  readonly #options: ContactKeeperOptions
  readonly #closing = new AbortController()
  readonly #firstRound = Promise.withResolvers<void>()
  readonly #ownAddresses = new Set<string>()
  readonly #resolving = new Set<PeerAddress>()
  readonly #remembered = new LRUCache<string, PeerAddress>({ max: MAX_REMEMBERED })
  #timer: NodeJS.Timeout | undefined
  #retryMs = FIRST_RETRY_MS

  constructor(options: ContactKeeperOptions) {
    this.#options = options
    for (const node of options.savedNodes) this.remember(node)
    if (!this.#hasContacts) this.#firstRound.resolve()
  }

  /** Resolves when somebody was met, or nobody answered the first time. */
  get firstRound(): Promise<void> {
    return this.#firstRound.promise
  }

  start(): void {
    if (!this.#hasContacts) return
    setTimeout(() => this.#firstRound.resolve(), this.#options.pingTimeoutMs).unref()
    this.#tryAll()
  }

  /** A contact turned out to be this node. */
  ignore(address: PeerAddress): void {
    this.#ownAddresses.add(formatPeerAddress(address))
    const { contacts, savedNodes } = this.#options
    if (this.#ownAddresses.size >= contacts.length + savedNodes.length) this.#firstRound.resolve()
  }

  /** A node is gone: perhaps it was not the node but the network. */
  remember(address: PeerAddress): void {
    const { host, port } = address
    this.#remembered.set(formatPeerAddress(address), { host, port })
  }

  /** The table is no longer empty. */
  onFilled(): void {
    this.#firstRound.resolve()
    this.#retryMs = FIRST_RETRY_MS
    this.#arm(REJOIN_MS)
  }

  /** The last node of the table is gone. */
  onEmptied(): void {
    this.#retryMs = FIRST_RETRY_MS
    this.#arm(FIRST_RETRY_MS)
  }

  close(): void {
    this.#closing.abort(new DOMException('discovery was closed', 'AbortError'))
    this.#firstRound.resolve()
    clearTimeout(this.#timer)
  }

  get #hasContacts(): boolean {
    return this.#options.contacts.length + this.#remembered.size > 0
  }

  #arm(delayMs: number): void {
    clearTimeout(this.#timer)
    if (this.#closing.signal.aborted || !this.#hasContacts) return
    const { random = Math.random } = this.#options
    this.#timer = setTimeout(() => this.#tryAll(), delayMs * (0.8 + 0.4 * random()))
  }

  #tryAll(): void {
    const isEmpty = this.#options.table.isEmpty()
    for (const contact of this.#options.contacts) void this.#try(contact)
    if (isEmpty) for (const node of this.#remembered.values()) this.#ping(node)
    this.#arm(isEmpty ? this.#retryMs : REJOIN_MS)
    this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2)
  }

  async #try(contact: PeerAddress): Promise<void> {
    if (this.#resolving.has(contact)) return
    this.#resolving.add(contact)
    try {
      const { resolve = resolveIPv4 } = this.#options
      const signal = deadline(RESOLVE_TIMEOUT_MS, this.#closing.signal)
      const hosts = await abortable(resolve(contact.host), signal)
      for (const host of hosts.slice(0, MAX_ADDRESSES_PER_NAME)) {
        this.#ping({ host, port: contact.port })
      }
    } catch (error) {
      // A name that is not known yet is tried again like a node that is not up yet.
      const fields = { peer: formatPeerAddress(contact), error: messageOf(error) }
      this.#options.log.debug(fields, 'contact has no IPv4 address')
    } finally {
      this.#resolving.delete(contact)
    }
  }

  #ping(address: PeerAddress): void {
    if (this.#closing.signal.aborted || this.#options.table.has(address)) return
    if (!this.#ownAddresses.has(formatPeerAddress(address))) this.#options.table.ping(address)
  }
}

async function resolveIPv4(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true, family: 4 })
  return found.map(({ address }) => address)
}
