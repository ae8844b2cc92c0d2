import { createHmac, randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { OperationError, systemCodeOf } from '../errors.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import type { JoinTicket } from './invite.ts'

interface OpenTicket {
  readonly id: string
  /** hex */
  readonly secret: string
  readonly expiresAtMs: number
  readonly isOnce: boolean
}

/** What whoever guards the door has to know of a ticket: by its id, the key of the channel. */
export interface OpenTicketKey {
  readonly id: string
  readonly key: Uint8Array
  readonly expiresAtMs: number
}

const MAX_OPEN = 1000

/** The tickets that this node has handed out and will still honour: `keys/tickets.json`, for its owner only. */
export class TicketBook extends EventEmitter<{ change: [] }> {
  readonly #path: string
  readonly #open = new Map<string, OpenTicket>()
  #writes: Promise<void> = Promise.resolve()

  private constructor(path: string) {
    super()
    this.#path = path
  }

  /** What cannot be read is as if nothing had been handed out. The folder `keys` must exist. */
  static async open(dataDir: string): Promise<TicketBook> {
    const book = new TicketBook(join(dataDir, 'keys', 'tickets.json'))
    for (const ticket of await readTickets(book.#path)) book.#open.set(ticket.id, ticket)
    return book
  }

  /**
   * Hands out a ticket; it is on disk before anybody can have it.
   * @throws OperationError INVITE_INVALID: too many are open
   */
  async issue(
    {
      expiresAtMs,
      isOnce,
      addresses,
    }: Pick<JoinTicket, 'expiresAtMs' | 'addresses'> & { readonly isOnce: boolean },
    nowMs: number = Date.now(),
  ): Promise<JoinTicket> {
    for (const { id, expiresAtMs: endMs } of this.#open.values())
      if (endMs <= nowMs) this.#open.delete(id)
    if (this.#open.size >= MAX_OPEN) {
      throw new OperationError(
        'INVITE_INVALID',
        `wanted at most ${MAX_OPEN} invites that have not expired, found ${this.#open.size}`,
      )
    }
    const [id, secret] = [randomBytes(8).toString('hex'), randomBytes(16)]
    this.#open.set(id, { id, secret: secret.toString('hex'), expiresAtMs, isOnce })
    await this.#write()
    return { id, secret, expiresAtMs, addresses }
  }

  /** The key of a channel for whoever has this ticket; undefined where it is not, or no longer, honoured. */
  secretOf(id: string, nowMs: number = Date.now()): Buffer | undefined {
    const ticket = this.#open.get(id)
    if (!ticket || ticket.expiresAtMs <= nowMs) return undefined
    return channelKeyOf(Buffer.from(ticket.secret, 'hex'))
  }

  /** What is open. Told anew at every `change`. */
  get keys(): OpenTicketKey[] {
    return [...this.#open.values()].map(({ id, secret, expiresAtMs }) => ({
      id,
      key: channelKeyOf(Buffer.from(secret, 'hex')),
      expiresAtMs,
    }))
  }

  /** Honours a ticket, now. One that is good once is used up on disk before this returns. */
  async redeem(id: string, nowMs: number = Date.now()): Promise<boolean> {
    const ticket = this.#open.get(id)
    if (!ticket || ticket.expiresAtMs <= nowMs) return false
    if (!ticket.isOnce) return true
    this.#open.delete(id)
    await this.#write()
    return true
  }

  /** Honours none of them any more: whoever is shut out of the swarm may have one. */
  async voidAll(): Promise<void> {
    if (this.#open.size === 0) return
    this.#open.clear()
    await this.#write()
  }

  async #write(): Promise<void> {
    this.emit('change')
    const write = this.#writes.then(() =>
      writeFileAtomically(
        this.#path,
        `${JSON.stringify({ tickets: [...this.#open.values()] })}\n`,
        { mode: 0o600 },
      ),
    )
    this.#writes = write.catch(() => undefined)
    return write
  }
}

/** The key of the channel between a member and whoever has the ticket. */
export function channelKeyOf(secret: Uint8Array): Buffer {
  return createHmac('sha256', secret).update('dd1/ticket\0').digest()
}

async function readTickets(path: string): Promise<OpenTicket[]> {
  try {
    const content = JSON.parse(await readFile(path, 'utf8')) as { tickets?: unknown } | null
    return Array.isArray(content?.tickets) ? content.tickets.filter(isTicket) : []
  } catch (error) {
    if (error instanceof SyntaxError || systemCodeOf(error) === 'ENOENT') return []
    throw error
  }
}

function isTicket(value: unknown): value is OpenTicket {
  if (typeof value !== 'object' || value === null) return false
  const { id, secret, expiresAtMs, isOnce } = value as Record<string, unknown>
  return (
    typeof id === 'string' &&
    /^[0-9a-f]{16}$/.test(id) &&
    typeof secret === 'string' &&
    /^[0-9a-f]{32}$/.test(secret) &&
    Number.isSafeInteger(expiresAtMs) &&
    typeof isOnce === 'boolean'
  )
}
