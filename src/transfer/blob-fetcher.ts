import type { Catalog } from '../catalog/catalog.ts'
import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobStore, ByteRange, ReadOptions } from '../store/blob-store.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import type { BlobSources } from './blob-sources.ts'
import { BlobTransfer } from './blob-transfer.ts'
import { SharedReads } from './shared-reads.ts'
import { StoredReads } from './stored-reads.ts'
import { recordOf, type TransferSnapshot } from './transfer-record.ts'
import type { UpstreamRoute } from './upstream-route.ts'

/** A blob that can be read: here, or on its way here. */
export interface ReadableBlob {
  /** bytes */
  readonly size: number
  read(range: ByteRange, options: ReadOptions): AsyncIterable<Uint8Array>
}

interface BlobFetcherOptions {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly sources: Pick<BlobSources, 'fetch'>
  /** told about every transfer that ended, and every read from the store */
  readonly onEnded?: (snapshot: TransferSnapshot) => void
  readonly onStoreRead?: (bytes: number) => void
  readonly log?: Log
}

const MAX_RECENT = 200
const MAX_UNDER_WAY = 256

/** The one place that fetches blobs: from the store, else from swarm and upstream; one transfer per digest at a time. */
export class BlobFetcher implements AsyncDisposable {
  readonly #options: BlobFetcherOptions
  readonly #log: Log
  readonly #moving = new Map<Digest, { transfer: BlobTransfer; ended: Promise<void> }>()
  readonly #recent: TransferSnapshot[] = []
  readonly #stop = new AbortController()
  readonly #reads = new SharedReads()
  readonly #storedReads: StoredReads

  constructor(options: BlobFetcherOptions) {
    this.#options = options
    this.#storedReads = new StoredReads({ store: options.store, reads: this.#reads })
    this.#log = options.log ?? silentLog
  }

  /**
   * The blob as soon as it is known that it can be had; undefined where nobody has it.
   * @param options.size bytes, where the caller knows it
   * @param options.maxBytes where it does not: who says that it is larger is not asked
   */
  async open(
    digest: Digest,
    {
      signal,
      route,
      size,
      maxBytes,
    }: {
      signal: AbortSignal
      route?: UpstreamRoute | undefined
      size?: number | undefined
      maxBytes?: number
    },
  ): Promise<ReadableBlob | undefined> {
    const { store } = this.#options
    const stored = await store.stat(digest)
    if (stored) {
      return {
        size: stored.size,
        read: (range, reading) => this.#readStored(digest, range, reading),
      }
    }
    const transfer = await this.#start(digest, { route, knownSize: size, maxBytes })
    if (!(await transfer.isAvailable(signal))) {
      if (isOperationError(transfer.failure, 'BLOB_UNKNOWN')) return undefined
      throw transfer.failure
    }
    return {
      size: transfer.size,
      read: (range, reading) =>
        transfer.read(range, {
          ...reading,
          readStored: (rest) => this.#storedReads.read(digest, rest, reading),
        }),
    }
  }

  /**
   * Brings a blob into the store and waits for it.
   * @param onTransfer given the transfer, to watch it; not called where the blob is here already
   * @throws OperationError BLOB_UNKNOWN, TRANSFER_STALLED, BLOB_DIGEST_MISMATCH, DISK_FULL
   */
  async fetch(
    digest: Digest,
    {
      size,
      route,
      signal,
      onTransfer,
    }: {
      size?: number
      route?: UpstreamRoute | undefined
      signal: AbortSignal
      onTransfer?: (t: BlobTransfer) => void
    },
  ): Promise<void> {
    if (await this.#options.store.has(digest)) return
    const transfer = await this.#start(digest, { route, knownSize: size })
    onTransfer?.(transfer)
    await transfer.settled(signal)
  }

  /** Whether clients read the blob while it is on its way. */
  isRead(digest: Digest): boolean {
    return (this.#moving.get(digest)?.transfer.readers ?? 0) > 0
  }

  /** A blob on its way of which peers may have what is here. */
  shared(digest: Digest): { size: number } | undefined {
    const transfer = this.#moving.get(digest)?.transfer
    return transfer?.state === 'moving' && transfer.isShared ? { size: transfer.size } : undefined
  }

  /** Transfers under way, then those that ended lately, newest first. */
  snapshots(): TransferSnapshot[] {
    const moving = [...this.#moving.values()].map(({ transfer }) => transfer.snapshot())
    return [...moving, ...this.#recent]
  }

  get movingCount(): number {
    return this.#moving.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new OperationError('INTERRUPTED', 'the node is stopping'))
    await Promise.all([...this.#moving.values()].map(({ ended }) => ended))
  }

  async #start(
    digest: Digest,
    {
      route,
      knownSize,
      maxBytes,
    }: {
      route?: UpstreamRoute | undefined
      knownSize?: number | undefined
      maxBytes?: number | undefined
    },
  ): Promise<BlobTransfer> {
    const running = this.#moving.get(digest)
    if (running) {
      if (route) running.transfer.onRoute(route)
      return running.transfer
    }
    const { catalog } = this.#options
    const [images, descriptor] = await Promise.all([
      catalog.imagesWithBlob(digest),
      knownSize === undefined ? catalog.descriptorOf(digest) : undefined,
    ])
    const size = knownSize ?? descriptor?.size
    const joined = this.#moving.get(digest)
    if (joined) {
      if (route) joined.transfer.onRoute(route)
      return joined.transfer
    }
    if (this.#moving.size >= MAX_UNDER_WAY) {
      throw new OperationError(
        'TRANSFER_STALLED',
        `${MAX_UNDER_WAY} blobs are on their way already`,
      )
    }
    const transfer = new BlobTransfer({
      digest,
      images,
      reads: this.#reads,
      maxBytes,
      ...(size !== undefined && { size }),
    })
    if (route) transfer.onRoute(route)
    const ended = this.#run(transfer).finally(() => this.#onEnded(transfer))
    this.#moving.set(digest, { transfer, ended })
    return transfer
  }

  async #run(transfer: BlobTransfer): Promise<void> {
    try {
      const siblings = await this.#siblings(transfer)
      await this.#options.sources.fetch(transfer, { siblings, signal: this.#stop.signal })
      transfer.onDone()
    } catch (error) {
      transfer.onFailed(error)
      if (isOperationError(error, 'BLOB_UNKNOWN') || this.#stop.signal.aborted) return
      const code = isOperationError(error) ? error.code : undefined
      this.#log.warn(
        { digest: transfer.digest, code, error: messageOf(error) },
        'a blob could not be fetched',
      )
    }
  }

  /** The other blobs of its images, as they will be wanted from the same peers. */
  async #siblings({ images }: BlobTransfer): Promise<Digest[]> {
    const [image] = images
    const record = image && (await this.#options.catalog.image(image))
    return record ? record.blobs.map(({ digest }) => digest) : []
  }

  #onEnded(transfer: BlobTransfer): void {
    this.#moving.delete(transfer.digest)
    const snapshot = transfer.snapshot()
    if (isOperationError(transfer.failure, 'BLOB_UNKNOWN')) return
    this.#recent.unshift(snapshot)
    this.#recent.length = Math.min(this.#recent.length, MAX_RECENT)
    this.#options.onEnded?.(snapshot)
    void this.#record(snapshot)
  }

  async #record(snapshot: TransferSnapshot): Promise<void> {
    try {
      await this.#options.catalog.putTransfer(recordOf(snapshot))
    } catch (error) {
      this.#log.debug({ error: messageOf(error) }, 'a transfer was not recorded')
    }
  }

  async *#readStored(
    digest: Digest,
    range: ByteRange,
    options: ReadOptions,
  ): AsyncIterable<Uint8Array> {
    using _ = this.#reads.enter()
    for await (const chunk of this.#storedReads.read(digest, range, options)) {
      this.#options.onStoreRead?.(chunk.length)
      yield chunk
    }
  }
}
