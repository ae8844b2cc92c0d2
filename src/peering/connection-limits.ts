import type { Socket } from 'node:net'

/** All, proven or not, at once. */
export const MAX_CONNECTIONS = 2048
const MAX_PER_HOST = 512
// Four for its questions, and one for each blob that it fetches at the same time: a warm-up fetches 18.
const MAX_PER_MEMBER = 32
const MAX_UNPROVEN = 512
const MAX_UNPROVEN_PER_HOST = 64

/**
 * How many connections may be open on the peer port. Those that have yet to prove anything have few places, and a new
 * one takes the place of the oldest: who only holds connections open keeps no member out, for a proof takes
 * milliseconds.
 */
export class ConnectionLimits {
  readonly #open = new Map<Socket, string>()
  readonly #countByHost = new Map<string, number>()
  readonly #countByMember = new Map<string, number>()
  readonly #unproven = new Set<Socket>()
  readonly #unprovenByHost = new Map<string, Set<Socket>>()

  /** @returns false where there is no place for it; else it has one until it closes, as unproven for now */
  admit(socket: Socket): boolean {
    const host = socket.remoteAddress ?? ''
    const count = (this.#countByHost.get(host) ?? 0) + 1
    if (host === '' || count > MAX_PER_HOST) return false
    this.#open.set(socket, host)
    this.#countByHost.set(host, count)
    socket.once('close', () => this.#onClose(socket, host))
    this.#addUnproven(socket, host)
    return true
  }

  /**
   * It has said, or proven, what was wanted of it.
   * @param member who has proven to be there; undefined where nobody has to
   * @returns false where that one has as many as it may have
   */
  onProven(socket: Socket, member?: string): boolean {
    const host = this.#open.get(socket)
    if (host === undefined) return false
    this.#removeUnproven(socket, host)
    if (member === undefined) return true
    const count = (this.#countByMember.get(member) ?? 0) + 1
    if (count > MAX_PER_MEMBER) return false
    this.#countByMember.set(member, count)
    socket.once('close', () => subtract(this.#countByMember, member))
    return true
  }

  /** Ends all of them. */
  closeAll(): void {
    for (const socket of this.#open.keys()) socket.destroy()
  }

  #addUnproven(socket: Socket, host: string): void {
    const ofHost = this.#unprovenByHost.get(host) ?? new Set()
    this.#unprovenByHost.set(host, ofHost.add(socket))
    this.#unproven.add(socket)
    if (ofHost.size > MAX_UNPROVEN_PER_HOST) this.#endOldest(ofHost)

    if (this.#unproven.size > MAX_UNPROVEN) this.#endOldest(this.#unproven)
  }

  #endOldest(sockets: Set<Socket>): void {
    const [oldest] = sockets
    if (!oldest) return
    this.#removeUnproven(oldest, this.#open.get(oldest) ?? '')
    oldest.destroy()
  }

  #removeUnproven(socket: Socket, host: string): void {
    this.#unproven.delete(socket)
    const ofHost = this.#unprovenByHost.get(host)
    ofHost?.delete(socket)
    if (ofHost?.size === 0) this.#unprovenByHost.delete(host)
  }

  #onClose(socket: Socket, host: string): void {
    this.#removeUnproven(socket, host)
    this.#open.delete(socket)
    subtract(this.#countByHost, host)
  }
}

function subtract(counts: Map<string, number>, name: string): void {
  const left = (counts.get(name) ?? 1) - 1
  if (left > 0) counts.set(name, left)
  else counts.delete(name)
}
