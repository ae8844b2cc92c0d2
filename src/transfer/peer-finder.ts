import { LRUCache } from 'lru-cache'

import type { PeerAddress, Rendezvous } from '../discovery/discovery.ts'
import { formatPeerAddress } from '../discovery/discovery.ts'
import { isOperationError } from '../errors.ts'
import type { RendezvousKey, RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { Digest } from '../oci/digest.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import type { KnownPeer, PeerDirectory } from '../peering/peer-directory.ts'
import {
  MAX_DIGESTS_PER_QUESTION,
  type HeldBlob,
  type NodeHello,
} from '../peering/peer-messages.ts'
import type { SeveralHosts } from '../support/several-hosts.ts'
import { SingleFlight } from '../support/single-flight.ts'
import { silentLog, type Log } from '../telemetry/log.ts'

/** A peer that says that it has a blob, or part of it. */
export interface Holder {
  readonly peer: KnownPeer
  readonly blob: HeldBlob
}

interface PeerFinderOptions {
  readonly discovery: Rendezvous
  readonly client: PeerQuestions
  readonly directory: PeerDirectory
  readonly keys: RendezvousKeys
  readonly self: () => NodeHello
  readonly log?: Log
}

// A lookup is over after this, whatever is still under way.
const LOOKUP_MS = 2000
const MAX_ASKED_AT_ONCE = 32
const MAX_PEERS_PER_LOOKUP = 64
// An address that did not answer is left alone for a while; who answered need not say hello again.
const SILENT_ADDRESS_MS = 5000
const HELLO_MS = 60_000
// What a peer said of a blob: complete stays so for a while, the rest changes while it downloads.
const COMPLETE_MS = 30_000
const INCOMPLETE_MS = 1000
const MAX_ANSWERS = 50_000

interface HolderSearch {
  readonly images: readonly Digest[]
  readonly signal?: AbortSignal | undefined
  readonly onAbsent?: (() => void) | undefined
}

/** Finds nodes of the swarm and asks them what they hold, many digests at a time. */
export class PeerFinder {
  readonly #options: PeerFinderOptions
  readonly #log: Log
  readonly #meeting = new SingleFlight<KnownPeer | undefined>()
  readonly #answers = new LRUCache<string, HeldBlob | 'absent'>({
    maxSize: MAX_ANSWERS,
    sizeCalculation: () => 1,
  })
  readonly #silent = new LRUCache<string, true>({ max: 5000, ttl: SILENT_ADDRESS_MS })

  constructor(options: PeerFinderOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
  }

  /** Says hello to whoever takes connections there; undefined where nobody of this swarm answers. */
  async meet(address: PeerAddress): Promise<KnownPeer | undefined> {
    const { directory } = this.#options
    const key = formatPeerAddress(address)
    const known = directory.byAddress(address.host, address.port)
    const isFresh = known && Date.now() - known.seenAtMs < HELLO_MS && known.silentUntilMs === 0
    if (isFresh) return usable(known)
    if (this.#silent.has(key)) return undefined
    return this.#meeting.run(key, () => this.#sayHello(address, key))
  }

  /** Says hello to somebody who did not answer a moment ago, and will now. */
  async meetAgain(address: PeerAddress): Promise<KnownPeer | undefined> {
    this.#silent.delete(formatPeerAddress(address))
    return this.meet(address)
  }

  /** Says hello again to a member that has not been heard of for a while. */
  async greet(peer: KnownPeer): Promise<void> {
    if (Date.now() - peer.seenAtMs < HELLO_MS / 2) return
    await this.#sayHello(addressOf(peer), formatPeerAddress(addressOf(peer)))
  }

  /** All members that can be found in `LOOKUP_MS`, as they are found; known ones come first. */
  async *members(options: { signal?: AbortSignal } = {}): AsyncIterable<KnownPeer> {
    yield* this.#peersAt(this.#nodesKeys, options)
  }

  /** Forgets what a peer said: it turned out to be wrong. */
  doubt(nodeId: string, digest: Digest): void {
    this.#answers.delete(`${nodeId} ${digest}`)
  }

  /** Nodes at the rendezvous of a reference, then all that are known. */
  async *peersFor(
    keys: readonly RendezvousKey[],
    options: { signal?: AbortSignal } = {},
  ): AsyncIterable<KnownPeer> {
    yield* this.#peersAt([...keys, ...this.#nodesKeys], options)
  }

  /**
   * Who holds any of `digests`, as answers come in. One question per peer covers them all.
   * @param images manifests that the digests belong to: their holders meet there
   * @param onAbsent told once all nodes that are known already have answered, and none has the first digest; the
   * search for others goes on
   */
  async *holders(
    digests: readonly Digest[],
    { images, signal, onAbsent }: HolderSearch,
  ): AsyncIterable<Holder> {
    const keys = images
      .slice(0, 8)
      .flatMap((image) => this.#options.keys.each((each) => each.image(image)))
    const answers = new AnswerQueue<Holder>()
    const asking = this.#askAll(digests, this.peersFor(keys, { ...(signal && { signal }) }), {
      answers,
      signal,
      onAbsent,
    })
    asking.then(
      () => answers.end(),
      () => answers.end(),
    )
    yield* answers
  }

  async #askAll(
    digests: readonly Digest[],
    peers: AsyncIterable<KnownPeer>,
    {
      answers,
      signal,
      onAbsent,
    }: Pick<HolderSearch, 'signal' | 'onAbsent'> & { answers: AnswerQueue<Holder> },
  ): Promise<void> {
    const asking = new Set<Promise<void>>()
    // They come first, see #peersAt.
    const known = Math.min(this.#options.directory.usable().length, MAX_PEERS_PER_LOOKUP)
    let [asked, absent] = [0, 0]
    for await (const peer of peers) {
      asked += 1
      const isKnown = asked <= known
      const one = this.#ask(peer, digests, { ...(signal && { signal }) }).then((held) => {
        for (const blob of held) answers.push({ peer, blob })
        if (isKnown && !held.some(({ digest }) => digest === digests[0])) absent += 1
        if (isKnown && absent === known) onAbsent?.()
      })
      asking.add(one)
      // a rejection is for whoever awaits the question, not for this note of its end
      const forget = () => void asking.delete(one)
      one.then(forget, forget)
      if (asking.size >= MAX_ASKED_AT_ONCE) await Promise.race(asking)
    }
    await Promise.all(asking)
  }

  /** What a peer holds of `digests`, from what it said lately if that covers the first. */
  async #ask(
    peer: KnownPeer,
    digests: readonly Digest[],
    options: { signal?: AbortSignal },
  ): Promise<readonly HeldBlob[]> {
    const recalled = digests.map((digest) => this.#answers.get(`${peer.nodeId} ${digest}`))
    if (recalled[0] !== undefined) {
      return recalled.filter(
        (answer): answer is HeldBlob => answer !== undefined && answer !== 'absent',
      )
    }
    const held = await this.#question(peer, digests, options)
    for (const digest of digests) {
      const answer = held.find((blob) => blob.digest === digest)
      const ttl = answer?.state === 'complete' ? COMPLETE_MS : INCOMPLETE_MS
      this.#answers.set(`${peer.nodeId} ${digest}`, answer ?? 'absent', { ttl })
    }
    return held
  }

  /** Nothing where the peer does not answer. */
  async #question(
    peer: KnownPeer,
    digests: readonly Digest[],
    options: { signal?: AbortSignal },
  ): Promise<readonly HeldBlob[]> {
    const { client, directory } = this.#options
    try {
      const wanted = digests.slice(0, MAX_DIGESTS_PER_QUESTION)
      const held = await client.have(addressOf(peer), wanted, { ...options, timeoutMs: 1500 })
      peer.seenAtMs = Date.now()
      return held.filter(({ digest }) => wanted.includes(digest))
    } catch (error) {
      options.signal?.throwIfAborted()
      if (isOperationError(error, 'NODE_UNREACHABLE')) {
        this.#silent.set(formatPeerAddress(addressOf(peer)), true)
        directory.onSilent(peer.nodeId)
      }
      this.#log.debug(
        { peer: peer.nodeName, error: String(error) },
        'a peer did not say what it has',
      )
      return []
    }
  }

  get #nodesKeys(): RendezvousKey[] {
    return this.#options.keys.each(({ nodes }) => nodes)
  }

  async *#peersAt(
    keys: readonly RendezvousKey[],
    { signal }: { signal?: AbortSignal },
  ): AsyncIterable<KnownPeer> {
    const { directory, discovery } = this.#options
    const seen = new Set<string>()
    for (const peer of directory.usable().slice(0, MAX_PEERS_PER_LOOKUP)) {
      seen.add(peer.nodeId)
      yield peer
    }
    const stop = AbortSignal.any([AbortSignal.timeout(LOOKUP_MS), ...(signal ? [signal] : [])])
    const found = new AnswerQueue<KnownPeer>()
    const lookups = keys.map((key) => this.#lookUp(discovery, key, { stop, found }))
    void Promise.allSettled(lookups).then(() => found.end())
    stop.addEventListener('abort', () => found.end(), { once: true })
    for await (const peer of found) {
      if (seen.has(peer.nodeId)) continue
      seen.add(peer.nodeId)
      yield peer
    }
  }

  async #lookUp(
    discovery: Rendezvous,
    key: RendezvousKey,
    { stop, found }: { stop: AbortSignal; found: AnswerQueue<KnownPeer> },
  ): Promise<void> {
    const meetings: Promise<void>[] = []
    for await (const address of discovery.findPeers(key, {
      signal: stop,
      limit: MAX_PEERS_PER_LOOKUP,
    })) {
      meetings.push(
        this.meet(address).then((peer) => {
          if (peer) found.push(peer)
        }),
      )
    }
    await Promise.all(meetings)
  }

  /** Who was known already is spoken with where it was: one connection is enough. */
  #onMet(hello: NodeHello, address: PeerAddress): KnownPeer {
    const { client, directory } = this.#options
    const peer = directory.meet({ ...hello, peerPort: address.port }, address.host)
    if (peer.host !== address.host) setImmediate(() => client.hangUp(address))
    return peer
  }

  async #sayHello(address: PeerAddress, key: string): Promise<KnownPeer | undefined> {
    const { client, directory, self } = this.#options
    try {
      const { reachedAt, ...hello } = await client.hello(address, self(), { timeoutMs: 1500 })
      if (hello.nodeId === self().nodeId) {
        this.#silent.set(key, true)
        setImmediate(() => client.hangUp(address))
        return undefined
      }
      const peer = this.#onMet(hello, address)
      // Only who was asked at several can answer at another.
      if (reachedAt !== undefined && reachedAt !== address.host)
        directory.prefer(hello.nodeId, reachedAt)
      return usable(peer)
    } catch (error) {
      this.#silent.set(key, true)
      this.#log.debug({ peer: key, error: String(error) }, 'nobody of this swarm answers')
      return undefined
    }
  }
}

/** Where a known peer takes connections, and who is there. */
export function addressOf(peer: KnownPeer): SeveralHosts & { readonly nodeId: string } {
  const { host, otherHosts, peerPort: port, nodeId } = peer
  return { host, port, nodeId, ...(otherHosts.length > 0 && { otherHosts }) }
}

function usable(peer: KnownPeer): KnownPeer | undefined {
  return peer.bannedUntilMs > Date.now() ? undefined : peer
}

/** Values pushed from several sides, read in one loop. */
class AnswerQueue<Value> implements AsyncIterable<Value> {
  readonly #values: Value[] = []
  #isEnded = false
  #wake: () => void = () => {}

  push(value: Value): void {
    if (this.#isEnded) return
    this.#values.push(value)
    this.#wake()
  }

  end(): void {
    this.#isEnded = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Value> {
    for (;;) {
      const value = this.#values.shift()
      if (value !== undefined) {
        yield value
        continue
      }
      if (this.#isEnded) return
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}
