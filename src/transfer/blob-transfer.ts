import { OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { ByteRange, ReadOptions } from '../store/blob-store.ts'
import { release } from '../support/buffer-lender.ts'
import { abortable } from '../support/deadline.ts'
import { ReaderPace } from './reader-pace.ts'
import { bytesHere, pieceAt, wholePiece, type ReadablePieces } from './readable-pieces.ts'
import { SharedReads } from './shared-reads.ts'
import type { SourceBytes, TransferSnapshot, TransferWait } from './transfer-record.ts'
import { isSameRoute, type UpstreamRoute } from './upstream-route.ts'

/** Bytes received over one connection or answer. */
interface Contribution {
  readonly peer: string
  readonly nodeName?: string
  readonly bytes: number
}

/** What a reader wants next. */
interface NextRead {
  readonly offset: number
  readonly range: ByteRange
  readonly signal: AbortSignal
}

const MAX_ROUTES = 16
// Held back until the digest of the whole has matched, so that a wrong blob never ends like a right one.
const HELD_BACK_BYTES = 64 * 1024

/**
 * One blob on its way here, and everybody who reads it meanwhile. Bytes leave only after their piece was
 * verified, the last ones only after the whole was. The state: waiting (nobody found yet) → moving → done or
 * failed; whoever fetches calls the `on…` methods, readers only wait.
 */
export class BlobTransfer {
  readonly digest: Digest
  readonly images: readonly Digest[]
  readonly startedAtMs = Date.now()
  #size: number
  #state: TransferSnapshot['state'] = 'waiting'
  #bytes: SourceBytes = { store: 0, peers: 0, upstream: 0 }
  #firstByteMs: number | null = null
  #endedAtMs: number | undefined
  #failure: unknown
  #partial: ReadablePieces | undefined
  readonly #reads: SharedReads
  readonly #pace = new ReaderPace()
  readonly #maxBytes: number
  #isProven = false
  #attempt = 1
  #readers = 0
  #waiting = 0
  readonly #routes: UpstreamRoute[] = []
  #order = Number.POSITIVE_INFINITY
  readonly #waits = new Map<TransferWait['what'], number>()
  #change = Promise.withResolvers<void>()
  readonly #contributions = new Map<string, Contribution>()
  lastProgressAtMs = Date.now()
  /** peers may have the pieces that are here: a torrent proves them */
  isShared = false

  /**
   * @param options.maxBytes of a blob whose size is not known
   * @param options.reads those of the node; by default the transfer is alone
   */
  constructor(options: {
    digest: Digest
    size?: number
    maxBytes?: number | undefined
    images: readonly Digest[]
    reads?: SharedReads
  }) {
    this.digest = options.digest
    this.images = options.images
    this.#size = options.size ?? -1
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY
    this.#reads = options.reads ?? new SharedReads()
  }

  /** Bytes; -1 until a peer or a manifest told. */
  get size(): number {
    return this.#size
  }

  /** Whether the blob may have the size that somebody says. */
  mayHave(size: number): boolean {
    return this.#size < 0 ? size <= this.#maxBytes : size === this.#size
  }

  get state(): TransferSnapshot['state'] {
    return this.#state
  }

  get failure(): unknown {
    return this.#failure
  }

  /** Verified bytes that peers sent. */
  get peerBytes(): number {
    return this.#bytes.peers
  }

  /** Bytes that are not here yet. */
  get missingBytes(): number {
    const { store, peers, upstream } = this.#bytes
    return this.#size - store - peers - upstream
  }

  /** Clients that read it now. */
  get readers(): number {
    return this.#readers
  }

  /** Whether a client reads it, or waits until it can. */
  get isWanted(): boolean {
    return this.#readers + this.#waiting > 0
  }

  /** Where upstream may have it, and by whose right it is asked for there; the first one that was named comes first. */
  get routes(): readonly UpstreamRoute[] {
    return this.#routes
  }

  /** Somebody who wants the blob knows where upstream has it. */
  onRoute(route: UpstreamRoute): void {
    this.#order = Math.min(this.#order, route.order ?? Number.POSITIVE_INFINITY)
    const isKnown = this.#routes.some((other) => isSameRoute(other, route))
    if (isKnown || this.#routes.length >= MAX_ROUTES) return
    this.#routes.push(route)
    this.#signalChange()
  }

  /** Position among the layers of an image, the lowest where it is in several; 0 where none is known. */
  get order(): number {
    return Number.isFinite(this.#order) ? this.#order : 0
  }

  onSize(size: number): void {
    this.#size = size
  }

  /** Time that passed while nothing else could be done. */
  onWait(what: TransferWait['what'], ms: number): void {
    this.#waits.set(what, (this.#waits.get(what) ?? 0) + Math.round(ms))
  }

  /** What came was not the blob: readers who were given some of it fail, the others wait for the next attempt. */
  onRestart(): void {
    this.#attempt += 1
    this.#pace.restart()
    this.#partial = undefined
    this.#isProven = false
    this.#state = 'waiting'
    this.#bytes = { store: 0, peers: 0, upstream: 0 }
    this.#firstByteMs = null
    this.#signalChange()
  }

  /** It can be had: what is here already is counted, readers may begin. */
  onMoving(partial?: ReadablePieces): void {
    if (this.#state !== 'waiting') return
    this.#partial = partial
    this.#state = 'moving'
    if (partial && !this.#isProven) {
      this.#bytes = { ...this.#bytes, store: bytesHere(partial) }
    }
    if (this.#bytes.store > 0) this.#firstByteMs = this.#elapsedMs()
    this.#signalChange()
  }

  /** All of it is in memory and proven; it is made durable while it is read. */
  onWhole(bytes: Buffer, source: 'peers' | 'upstream'): void {
    if (this.#size < 0) this.#size = bytes.length
    this.#isProven = true
    this.onMoving(wholePiece(bytes))
    this.onBytes(source, bytes.length)
  }

  /** Verified bytes arrived. */
  onBytes(source: 'peers' | 'upstream', bytes: number): void {
    this.#firstByteMs ??= this.#elapsedMs()
    this.#bytes = { ...this.#bytes, [source]: this.#bytes[source] + bytes }
    this.lastProgressAtMs = Date.now()
    this.#signalChange()
  }

  /** With everything up to `offset` here: a moment for readers that can follow. */
  async letReadersFollow(offset: number): Promise<void> {
    if (this.#readers > 0) await this.#pace.follow(offset)
  }

  onContribution({ peer, nodeName, bytes }: Contribution): void {
    const sum = (this.#contributions.get(peer)?.bytes ?? 0) + bytes
    this.#contributions.set(peer, { peer, ...(nodeName !== undefined && { nodeName }), bytes: sum })
  }

  /** The whole was verified: what was held back may go out while the blob is made durable. */
  onProven(): void {
    this.#isProven = true
    this.#signalChange()
  }

  /** The whole was verified and is in the store. */
  onDone(): void {
    this.#end('done')
  }

  onFailed(failure: unknown): void {
    this.#failure = failure
    this.#end('failed')
  }

  /** Waits until it is known that the blob can be had: true; or that it cannot: false. */
  async isAvailable(signal: AbortSignal): Promise<boolean> {
    this.#waiting += 1
    try {
      while (this.#state === 'waiting') await this.#nextChange(signal)
    } finally {
      this.#waiting -= 1
    }
    return this.#state !== 'failed'
  }

  /** Waits for the end. @throws what the transfer failed with */
  async settled(signal: AbortSignal): Promise<void> {
    while (this.#state === 'waiting' || this.#state === 'moving') await this.#nextChange(signal)
    if (this.#state === 'failed') throw this.#failure
  }

  /**
   * The verified bytes of a range in order, as they arrive.
   * @param readStored reads the blob in the store, as one of the shared reads: what is left after the end of the transfer
   * @throws what the transfer failed with; what was yielded before is right but not all
   */
  async *read(
    range: ByteRange,
    {
      readStored,
      isLent = false,
      signal,
    }: ReadOptions & { readStored: (rest: ByteRange) => AsyncIterable<Uint8Array> },
  ): AsyncIterable<Uint8Array> {
    // to the end, or those who go on to the store would be few for a moment, and read as few do
    using _ = this.#reads.enter()
    let offset = range.start
    let attempt = this.#attempt
    this.#readers += 1
    try {
      while (offset <= range.end) {
        if (this.#state !== 'moving' || !this.#partial) await this.#begun(signal)
        if (attempt !== this.#attempt) {
          if (offset > range.start) throw wrongBytesGivenOut(this.digest)
          attempt = this.#attempt
        }
        if (this.#state === 'done' || !this.#partial) break
        const next = { offset, range, signal }
        const bytes =
          this.#atHand(this.#partial, next) ?? (await this.#arrived(this.#partial, next))
        if (!bytes) continue
        offset += bytes.length
        yield bytes
        this.#pace.onTaken(offset)
        if (isLent && offset <= range.end) release(bytes)
      }
    } finally {
      this.#readers -= 1
    }
    if (offset <= range.end) yield* readStored({ start: offset, end: range.end })
  }

  async #begun(signal: AbortSignal): Promise<void> {
    if (!(await this.isAvailable(signal))) throw this.#failure
    if (!this.#partial) await this.settled(signal)
  }

  /** What is in memory and may go out: a reader that keeps up waits for nothing. */
  #atHand(partial: ReadablePieces, { offset, range }: NextRead): Buffer | undefined {
    const end = this.#freeEnd(offset, range)
    if (end === undefined || !partial.hasPiece(pieceAt(partial, offset))) return undefined
    return partial.kept?.(offset, this.#lengthAt(partial, { offset, end }))
  }

  /** undefined where the blob has moved on meanwhile: into the store, or to another attempt. */
  async #arrived(
    partial: ReadablePieces,
    { offset, range, signal }: NextRead,
  ): Promise<Buffer | undefined> {
    try {
      const end = this.#freeEnd(offset, range) ?? (await this.#provenEnd(range, signal))
      const index = pieceAt(partial, offset)
      if (!partial.hasPiece(index)) await this.#piece(partial, index, signal)
      const length = this.#lengthAt(partial, { offset, end })
      const bytes =
        partial.kept?.(offset, length) ??
        (await this.#reads.read({ source: partial, offset, length }, (into) =>
          partial.readInto(into, offset),
        ))
      return this.#partial === partial ? bytes : undefined
    } catch (error) {
      const isOvertaken = this.#state === 'done' || this.#partial !== partial
      if (isOvertaken && !signal.aborted) return undefined
      throw error
    }
  }

  /** Where bytes from `offset` may be read to; undefined where they are held back until the whole is proven. */
  #freeEnd(offset: number, range: ByteRange): number | undefined {
    if (this.#isProven) return range.end + 1
    const heldBackFrom = this.#size - HELD_BACK_BYTES
    return offset < heldBackFrom ? Math.min(range.end + 1, heldBackFrom) : undefined
  }

  async #provenEnd(range: ByteRange, signal: AbortSignal): Promise<number> {
    const attempt = this.#attempt
    while (!this.#isProven && this.#state === 'moving' && attempt === this.#attempt) {
      await this.#nextChange(signal)
    }
    if (this.#state === 'failed') throw this.#failure
    if (attempt !== this.#attempt) throw wrongBytesGivenOut(this.digest)
    return range.end + 1
  }

  #lengthAt(partial: ReadablePieces, { offset, end }: { offset: number; end: number }): number {
    const endOfPiece = (pieceAt(partial, offset) + 1) * partial.pieceLength
    return Math.min(this.#reads.lengthAt(offset), endOfPiece - offset, end - offset)
  }

  snapshot(): TransferSnapshot {
    const code = this.#failure instanceof OperationError ? this.#failure.code : undefined
    return {
      digest: this.digest,
      size: this.#size,
      bytes: this.#bytes,
      firstByteMs: this.#firstByteMs,
      ms: this.#elapsedMs(),
      state: this.#state,
      startedAtMs: this.startedAtMs,
      peers: [...this.#contributions.values()],
      waits: [...this.#waits].map(([what, ms]) => ({ what, ms })),
      ...(this.#routes[0] && { upstream: this.#routes[0].repository.registry }),
      ...(this.#state === 'failed' && { code: code ?? 'UNEXPECTED' }),
    }
  }

  async #piece(partial: ReadablePieces, index: number, signal: AbortSignal): Promise<void> {
    while (!partial.hasPiece(index)) {
      if (this.#state === 'failed') throw this.#failure
      if (this.#partial !== partial) throw wrongBytesGivenOut(this.digest)
      await this.#nextChange(signal)
    }
    // A blob that failed as a whole may have sound pieces; none of them is worth anything any more.
    if (this.#state === 'failed') throw this.#failure
  }

  #nextChange(signal: AbortSignal): Promise<void> {
    return abortable(this.#change.promise, signal)
  }

  #signalChange(): void {
    const { resolve } = this.#change
    this.#change = Promise.withResolvers<void>()
    resolve()
  }

  #end(state: 'done' | 'failed'): void {
    if (this.#endedAtMs !== undefined) return
    this.#state = state
    this.#endedAtMs = Date.now()
    this.#signalChange()
  }

  #elapsedMs(): number {
    return (this.#endedAtMs ?? Date.now()) - this.startedAtMs
  }
}

function wrongBytesGivenOut(digest: Digest): OperationError {
  return new OperationError(
    'BLOB_DIGEST_MISMATCH',
    `blob ${digest}: what came first was something else; it is fetched again`,
  )
}
