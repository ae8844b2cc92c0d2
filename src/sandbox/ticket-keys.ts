import type { OpenTicketKey } from '../membership/ticket-book.ts'

/** Which tickets the door honours, as the node told it last. */
export class TicketKeys {
  #tickets = new Map<string, OpenTicketKey>()

  replace(tickets: readonly OpenTicketKey[]): void {
    this.#tickets = new Map(tickets.map((ticket) => [ticket.id, ticket]))
  }

  /** The key of a channel for whoever has this ticket; undefined where it is not, or no longer, honoured. */
  keyOf(id: string, nowMs: number = Date.now()): Buffer | undefined {
    const ticket = this.#tickets.get(id)
    return ticket && ticket.expiresAtMs > nowMs ? Buffer.from(ticket.key) : undefined
  }
}
