import { formatPeerAddress, type PeerAddress } from './discovery.ts'
import { abortable } from '../support/deadline.ts'

const MAX_ADDRESSES = 500

/**
 * Addresses on their way from who finds them to who wants them: each is kept once, and every reader gets
 * all of them from the first, at its own pace.
 */
export class PeerChannel {
  readonly #addresses: PeerAddress[] = []
  readonly #seen = new Set<string>()
  #isEnded = false
  #news = Promise.withResolvers<void>()

  get isEnded(): boolean {
    return this.#isEnded
  }

  /** Ends the channel when it is full. */
  push(address: PeerAddress): void {
    const name = formatPeerAddress(address)
    if (this.#isEnded || this.#seen.has(name)) return
    this.#seen.add(name)
    this.#addresses.push(address)
    if (this.#addresses.length >= MAX_ADDRESSES) this.#isEnded = true
    this.#tell()
  }

  end(): void {
    this.#isEnded = true
    this.#tell()
  }

  /** Ends with the channel, after `limit` addresses, or without an error when `signal` fires. */
  async *read({
    signal,
    limit = Infinity,
  }: { signal?: AbortSignal; limit?: number } = {}): AsyncGenerator<PeerAddress> {
    let index = 0
    for (;;) {
      if (index >= limit || isAborted(signal)) return
      const address = this.#addresses[index]
      index += 1
      if (address) yield address
      else if (this.#isEnded) return
      else {
        index -= 1
        await this.#waitForNews(signal)
      }
    }
  }

  async #waitForNews(signal: AbortSignal | undefined): Promise<void> {
    const news = this.#news.promise
    if (!signal) return await news
    // Whether it was the signal or the news, the reader looks for itself.
    await abortable(news, signal).catch(() => {})
  }

  #tell(): void {
    this.#news.resolve()
    this.#news = Promise.withResolvers<void>()
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted ?? false
}
