import { isOperationError, messageOf } from '../errors.ts'
import type { KeyKeeper } from '../membership/key-keeper.ts'
import { formatKeyOrders, parseKeyOrders } from '../membership/key-order.ts'
import { asRecord } from '../oci/descriptor.ts'
import type { KnownPeer, PeerDirectory } from '../peering/peer-directory.ts'
import { parseKeyMark } from '../peering/peer-messages.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import type { SeveralHosts } from '../support/several-hosts.ts'
import { SingleFlight } from '../support/single-flight.ts'
import type { Log } from '../telemetry/log.ts'
import { addressOf } from '../transfer/peer-finder.ts'

/** What two nodes know of keys after they told each other, where they could. */
export type Exchange = 'same' | 'differs' | 'failed'

/** Somebody who is to be told, and where. */
export interface KeyRecipient extends SeveralHosts {
  readonly nodeId: string
  readonly nodeName: string
}

interface KeyCourierOptions {
  readonly keeper: KeyKeeper
  readonly client: Pick<PeerQuestions, 'keys'>
  readonly directory: Pick<PeerDirectory, 'all'>
  readonly log: Log
  /** how long who gives an order waits for all to have it */
  readonly tellAllMs?: number
  /** ms before each round in which those who are left are tried again; the last one goes on */
  readonly roundsMs?: readonly number[]
}

const TELL_MS = 2000
const TELL_ALL_MS = 10_000
const MAX_KNOWN = 5000
const MAX_AT_ONCE = 16
// Who hands an order on does not know whom others have told already: a few, and the others only if nobody has.
const TOLD_AT_ONCE = 4
const TOLD_PER_ROUND = 32
const ROUNDS_MS = [2000, 5000, 15_000, 60_000, 300_000, 900_000]

/**
 * Takes orders of new keys to those who do not have them. Two nodes that meet compare marks; where they differ, each
 * gives the other what it has, so that it does not matter who was told first, or whether anybody was off.
 */
export class KeyCourier implements Disposable {
  readonly #options: KeyCourierOptions
  readonly #exchanging = new SingleFlight<Exchange>()
  readonly #markOf = new Map<string, string>()
  readonly #triedWith = new Map<string, string>()
  #round = 0
  #timer: NodeJS.Timeout | undefined
  readonly #stop = new AbortController()

  constructor(options: KeyCourierOptions) {
    this.#options = options
  }

  /** Whether a member knows of keys what this node knows. */
  isUpToDate(nodeId: string): boolean {
    return this.#markOf.get(nodeId) === this.#options.keeper.mark
  }

  /** node ids */
  upToDate(): string[] {
    const { mark } = this.#options.keeper
    return [...this.#markOf].filter(([, known]) => known === mark).map(([nodeId]) => nodeId)
  }

  /** A member said hello, or answered it. */
  onMet(peer: KnownPeer): void {
    const { nodeId, nodeName, keys } = peer
    const { keeper } = this.#options
    keeper.book.note({ nodeId, nodeName, host: peer.host, port: peer.peerPort })
    if (keys === undefined) return
    remember(this.#markOf, nodeId, keys)
    // Where two do not agree, as after each was shut out by another, asking again would change nothing.
    const tried = `${keys} ${keeper.mark}`
    if (keys === keeper.mark || this.#triedWith.get(nodeId) === tried) return
    void this.exchange(addressOf(peer)).then((outcome) => {
      if (outcome === 'differs') remember(this.#triedWith, nodeId, `${keys} ${keeper.mark}`)
    })
  }

  /** Gives what there is to whoever is there, and takes what it has. */
  exchange(address: SeveralHosts & { readonly nodeId?: string }): Promise<Exchange> {
    const { keeper } = this.#options
    const key = `${address.host}:${address.port} ${keeper.mark}`
    return this.#exchanging.run(key, () => this.#exchange(address))
  }

  /** What to answer to who asks for orders. @throws OperationError RECORD_INVALID, MESSAGE_INVALID */
  async answer(question: unknown, nodeId: string | undefined): Promise<object> {
    const { keeper } = this.#options
    await keeper.merge(parseKeyOrders(question))
    if (nodeId !== undefined)
      remember(this.#markOf, nodeId, parseKeyMark(asRecord(question)?.['mark']))
    return this.#ownOrders()
  }

  /** Tells all members that are known of an order that this node has just given; who does not answer in time is told later. */
  async tellAll(): Promise<{ reached: KeyRecipient[]; notReached: KeyRecipient[] }> {
    const recipients = this.#members()
    const { tellAllMs = TELL_ALL_MS } = this.#options
    const deadlineMs = performance.now() + tellAllMs
    const [reached, notReached]: [KeyRecipient[], KeyRecipient[]] = [[], []]
    await mapConcurrently(recipients, MAX_AT_ONCE, async (recipient) => {
      const isTold = await this.#isTold(recipient, deadlineMs)
      if (isTold) reached.push(recipient)
      else notReached.push(recipient)
    })
    this.#scheduleRounds()
    return { reached, notReached }
  }

  /** Hands on an order that this node was told of. */
  handOn(): void {
    void this.#tellSome(TOLD_AT_ONCE)
    this.#scheduleRounds()
  }

  [Symbol.dispose](): void {
    this.#stop.abort()
    clearTimeout(this.#timer)
  }

  /** Somebody who knows more by now, of another order that was given at the same time, has taken this one too. */
  async #isTold(recipient: KeyRecipient, deadlineMs: number): Promise<boolean> {
    if (this.isUpToDate(recipient.nodeId)) return true
    return performance.now() < deadlineMs && (await this.exchange(recipient)) !== 'failed'
  }

  async #exchange(address: SeveralHosts & { readonly nodeId?: string }): Promise<Exchange> {
    const { keeper, client, log } = this.#options
    const { signal } = this.#stop
    try {
      const answer = await client.keys(address, this.#ownOrders(), { signal, timeoutMs: TELL_MS })
      await keeper.merge(parseKeyOrders(answer))
      const mark = parseKeyMark(asRecord(answer)?.['mark'])
      if (address.nodeId !== undefined) remember(this.#markOf, address.nodeId, mark)
      return mark === keeper.mark ? 'same' : 'differs'
    } catch (error) {
      const isExpected = isOperationError(error) || signal.aborted
      const peer = `${address.host}:${address.port}`
      log[isExpected ? 'debug' : 'warn']({ peer, error: messageOf(error) }, 'keys not exchanged')
      return 'failed'
    }
  }

  #ownOrders(): object {
    const { orders, mark } = this.#options.keeper
    return { ...formatKeyOrders(orders), mark }
  }

  /** All that are known, but who is shut out; those who are here first. */
  #members(): KeyRecipient[] {
    const { keeper, directory } = this.#options
    const here = directory.all().map((peer) => ({ ...addressOf(peer), nodeName: peer.nodeName }))
    const known = new Set(here.map(({ nodeId }) => nodeId))
    const others = keeper.book.all().filter(({ nodeId }) => !known.has(nodeId))
    return [
      ...here,
      ...others.map(({ nodeId, nodeName, host, port }) => ({ nodeId, nodeName, host, port })),
    ].filter(({ nodeId }) => !keeper.keys.revoked.has(nodeId))
  }

  /** Those that are not known to have it. */
  #pending(): KeyRecipient[] {
    return this.#members().filter(({ nodeId }) => !this.isUpToDate(nodeId))
  }

  /** A few at random: all who hand something on would tell the same ones otherwise. */
  async #tellSome(count: number): Promise<void> {
    const some = this.#pending()
      .map((recipient) => ({ recipient, at: Math.random() }))
      .sort((a, b) => a.at - b.at)
      .slice(0, count)
    await mapConcurrently(some, MAX_AT_ONCE, ({ recipient }) => this.exchange(recipient))
  }

  #scheduleRounds(): void {
    this.#round = 0
    this.#schedule()
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    if (this.#stop.signal.aborted || this.#pending().length === 0) return
    const { roundsMs = ROUNDS_MS } = this.#options
    const waitMs = roundsMs[Math.min(this.#round, roundsMs.length - 1)]
    this.#round += 1
    this.#timer = setTimeout(() => {
      void this.#tellSome(TOLD_PER_ROUND).finally(() => this.#schedule())
    }, waitMs).unref()
  }
}

/** What was noted longest ago makes room: invented members take no more than that. */
function remember(notes: Map<string, string>, nodeId: string, note: string): void {
  notes.delete(nodeId)
  notes.set(nodeId, note)
  const [oldest] = notes.keys()
  if (notes.size > MAX_KNOWN && oldest !== undefined) notes.delete(oldest)
}
