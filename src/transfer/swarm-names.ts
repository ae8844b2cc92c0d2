import type { Catalog } from '../catalog/catalog.ts'
import { messageOf } from '../errors.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import { parseReferenceRecord, type SignedReferenceRecord } from '../membership/reference-record.ts'
import type { RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Digest } from '../oci/digest.ts'
import { canonicalName, formatReference, type Reference } from '../oci/reference.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import type { KnownPeer } from '../peering/peer-directory.ts'
import { abortable } from '../support/deadline.ts'
import { SingleFlight } from '../support/single-flight.ts'
import type { Log } from '../telemetry/log.ts'
import type { ImageRegister } from './image-register.ts'
import { addressOf, type PeerFinder } from './peer-finder.ts'

interface SwarmNamesOptions {
  readonly catalog: Catalog
  readonly finder: Pick<PeerFinder, 'peersFor'>
  readonly client: Pick<PeerQuestions, 'references'>
  readonly register: Pick<ImageRegister, 'contradict' | 'nodeName'>
  /** whether upstream is asked what its names mean */
  readonly asksUpstream: boolean
  readonly identity: NodeIdentity
  readonly isPublic: boolean
  readonly keys: RendezvousKeys
  readonly swarmKeys: SwarmKeys
  readonly log: Log
}

/** What a name means by the newest signed record. */
export interface RecordedMeaning {
  readonly digest: Digest
  /** of the manifest, bytes */
  readonly size: number
  /** until when somebody vouched for it, ms; in the past, it is not known whether it still is so */
  readonly expiresAtMs: number
}

// Once one node has answered, others get this long to say something newer; without an answer, the whole time.
const SETTLE_MS = 300
// What comes later is still heard, for the next who asks: or quick peers with an old answer could keep out a new one.
const ASK_MS = 2000
// HEAD by tag, GET by tag, GET by digest: one pull asks several times.
const FRESH_MS = 2000
const MAX_FRESH = 1000
// An honest node hands over no more of one name; each costs the check of a signature.
const MAX_RECORDS_HEARD = 64

/**
 * What the nodes of the swarm say names mean. All that can be found are asked; what proves sound is kept in the
 * catalog, which lets no signer go back; of what is there the newest decision counts, whoever handed it over.
 */
export class SwarmNames {
  readonly #options: SwarmNamesOptions
  readonly #asking = new SingleFlight<RecordedMeaning | undefined>()
  readonly #fresh = new Map<string, { meaning: RecordedMeaning; atMs: number }>()

  constructor(options: SwarmNamesOptions) {
    this.#options = options
  }

  /** undefined where nobody says within `limitMs`. @throws the reason of `signal` */
  async meaningOf(
    reference: Reference,
    { signal, limitMs }: { signal: AbortSignal; limitMs: number },
  ): Promise<RecordedMeaning | undefined> {
    const key = formatReference(reference)
    const fresh = this.#fresh.get(key)
    if (fresh && Date.now() - fresh.atMs < FRESH_MS) return fresh.meaning
    const shared = this.#asking.run(key, () => this.#newest(reference, limitMs))
    const meaning = await abortable(shared, signal)
    if (meaning) this.#remember(key, meaning)
    return meaning
  }

  async #newest(reference: Reference, limitMs: number): Promise<RecordedMeaning | undefined> {
    const name = canonicalName(reference)
    await this.#askPeers(reference, name, limitMs)
    const records = await this.#options.catalog.references(name)
    return newestOf(records.filter((record) => this.#counts(record, reference)))
  }

  /**
   * In the public swarm anybody may sign: there only this node's own word counts for the name of a registry. What is
   * on this node, only this node says; what others call themselves is not proven.
   */
  #counts({ nodeName, nodeId }: SignedReferenceRecord, reference: Reference): boolean {
    const { isPublic, identity, asksUpstream, register } = this.#options
    const isOwn = nodeId === identity.nodeId
    if (reference.scope === 'node') {
      return nodeName === reference.nodeName && (isOwn || nodeName !== register.nodeName)
    }
    return isOwn || !(isPublic && asksUpstream && reference.scope === 'upstream')
  }

  /** Asks all peers that can be found; what proves sound is in the catalog afterwards. */
  async #askPeers(reference: Reference, name: string, limitMs: number): Promise<void> {
    const { catalog, finder, keys, log } = this.#options
    const stop = new AbortController()
    const stopping = AbortSignal.any([stop.signal, AbortSignal.timeout(limitMs)])
    const settle = () => setTimeout(() => stop.abort(), SETTLE_MS)
    let settling = (await catalog.references(name)).length > 0 ? settle() : undefined
    const asking: Promise<void>[] = []
    const meetingPoints = keys.each((each) => each.reference(name))
    const search = (async () => {
      for await (const peer of finder.peersFor(meetingPoints, { signal: stopping })) {
        asking.push(
          this.#askPeer(peer, name, formatReference(reference)).then((isHelpful) => {
            if (isHelpful) settling ??= settle()
          }),
        )
      }
      await Promise.all(asking)
    })()
    const stopped = new Promise<void>((resolve) => {
      stopping.addEventListener('abort', () => resolve(), { once: true })
    })
    try {
      await Promise.race([search, stopped])
    } catch (error) {
      if (!stopping.aborted)
        log.debug(
          { reference: formatReference(reference), error: messageOf(error) },
          'search for a name failed',
        )
    } finally {
      clearTimeout(settling)
      stop.abort()
      search.catch(() => {})
    }
  }

  /** @returns whether the peer had something sound to say */
  async #askPeer(peer: KnownPeer, name: string, key: string): Promise<boolean> {
    const { client, log } = this.#options
    let isHelpful = false
    try {
      const answer = await client.references(addressOf(peer), [name], { timeoutMs: ASK_MS })
      const records = answer
        .slice(0, MAX_RECORDS_HEARD)
        .flatMap((value) => this.#prove(value, peer) ?? [])
        .filter((record) => record.name === name)
      isHelpful = records.length > 0
      // each waits for the disk: the one that decides must not wait for the others
      for (const record of records.toSorted((a, b) => b.sequence - a.sequence)) {
        if (await this.#hear(record)) this.#fresh.delete(key)
      }
    } catch (error) {
      log.debug(
        { peer: peer.nodeName, error: messageOf(error) },
        'a peer did not say what a name means',
      )
    }
    return isHelpful
  }

  #prove(value: unknown, peer: KnownPeer): SignedReferenceRecord | undefined {
    const { swarmKeys, log } = this.#options
    try {
      return parseReferenceRecord(value, { swarmKeys: swarmKeys.known })
    } catch (error) {
      log.debug({ peer: peer.nodeName, error: messageOf(error) }, 'a record is not sound')
      return undefined
    }
  }

  async #hear(record: SignedReferenceRecord): Promise<boolean> {
    const { catalog, identity, register } = this.#options
    if (record.nodeId !== identity.nodeId) return catalog.hearReference(record, identity.nodeId)
    await register.contradict(record)
    return false
  }

  #remember(key: string, meaning: RecordedMeaning): void {
    this.#fresh.delete(key)
    this.#fresh.set(key, { meaning, atMs: Date.now() })
    const [oldest] = this.#fresh.keys()
    if (this.#fresh.size > MAX_FRESH && oldest !== undefined) this.#fresh.delete(oldest)
  }
}

/**
 * One record of one signer decides, the newest; that nobody has confirmed it lately does not bring back an older one.
 * It is vouched for as long as any of the records say the same.
 */
function newestOf(records: readonly SignedReferenceRecord[]): RecordedMeaning | undefined {
  const [newest] = records.toSorted(
    (a, b) => b.sequence - a.sequence || (a.nodeId > b.nodeId ? -1 : 1),
  )
  if (!newest) return undefined
  const { digest, size } = newest
  const same = records.filter((record) => record.digest === digest)
  return { digest, size, expiresAtMs: Math.max(...same.map(({ expiresAtMs }) => expiresAtMs)) }
}
