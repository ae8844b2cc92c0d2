import { messageOf } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import { abortable } from '../support/deadline.ts'
import type { Log } from '../telemetry/log.ts'
import type { PeerAddress } from './discovery.ts'
import { PeerChannel } from './peer-channel.ts'
import { Slots } from './slots.ts'

interface LookupsOptions {
  /** resolves when there is somebody to ask, or nobody to wait for */
  readonly ready: () => Promise<void>
  /** asks; settles when all have answered or `signal` fires. What is found comes by `found`. */
  readonly lookUp: (key: RendezvousKey, signal: AbortSignal) => Promise<void>
  readonly log: Log
}

interface Lookup {
  readonly channel: PeerChannel
  readonly stopping: AbortController
  readerCount: number
}

// k-rpc looks at every running lookup whenever any answer comes.
const MAX_RUNNING = 16

/** The lookups under way: one per key, however many read it, stopped when the last reader leaves. */
export class Lookups {
  readonly #options: LookupsOptions
  readonly #running = new Map<RendezvousKey, Lookup>()
  readonly #slots = new Slots(MAX_RUNNING)
  #isClosed = false

  constructor(options: LookupsOptions) {
    this.#options = options
  }

  /** Joins the lookup of `key` or starts it. @param known addresses that need no lookup */
  async *read(
    key: RendezvousKey,
    options: { signal?: AbortSignal; limit?: number },
    known: readonly PeerAddress[] = [],
  ): AsyncGenerator<PeerAddress> {
    if (this.#isClosed || options.signal?.aborted) return
    const lookup = this.#running.get(key) ?? this.#start(key, known)
    lookup.readerCount += 1
    try {
      yield* lookup.channel.read(options)
    } finally {
      lookup.readerCount -= 1
      if (lookup.readerCount === 0) this.#end(key, lookup)
    }
  }

  isRunning(key: RendezvousKey): boolean {
    return this.#running.has(key)
  }

  /** An answer has come. */
  found(key: RendezvousKey, address: PeerAddress): void {
    const lookup = this.#running.get(key)
    lookup?.channel.push(address)
    if (lookup?.channel.isEnded) this.#end(key, lookup)
  }

  /** Ends all of them, and whatever is read later. */
  close(): void {
    this.#isClosed = true
    for (const [key, lookup] of this.#running) this.#end(key, lookup)
  }

  #start(key: RendezvousKey, known: readonly PeerAddress[]): Lookup {
    const lookup = { channel: new PeerChannel(), stopping: new AbortController(), readerCount: 0 }
    this.#running.set(key, lookup)
    for (const address of known) lookup.channel.push(address)
    void this.#run(key, lookup)
    return lookup
  }

  async #run(key: RendezvousKey, lookup: Lookup): Promise<void> {
    const { signal } = lookup.stopping
    try {
      await abortable(this.#options.ready(), signal)
      const giveBack = await this.#slots.take(signal)
      await this.#options.lookUp(key, signal).finally(giveBack)
    } catch (error) {
      if (!signal.aborted) this.#options.log.warn({ error: messageOf(error) }, 'lookup failed')
    } finally {
      this.#end(key, lookup)
    }
  }

  #end(key: RendezvousKey, { channel, stopping }: Lookup): void {
    if (this.#running.get(key)?.channel === channel) this.#running.delete(key)
    stopping.abort()
    channel.end()
  }
}
