import type { Catalog } from '../catalog/catalog.ts'
import { isOperationError, OperationError } from '../errors.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { MAX_WHOLE_BLOB_BYTES } from '../peering/peer-messages.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { release } from '../support/buffer-lender.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { BlobAssembly } from './blob-assembly.ts'
import { BlobRace } from './blob-race.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import type { ContentAccess } from './content-access.ts'
import { SMALL_BLOB_BYTES } from './holder-questions.ts'
import { StoreSink } from './store-sink.ts'
import type { SwarmSource } from './swarm-source.ts'
import type { UpstreamRoute } from './upstream-route.ts'
import type { UpstreamSource } from './upstream-source.ts'

interface BlobSourcesOptions {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly swarm: SwarmSource
  readonly access: ContentAccess
  /** strangers are peers too: what is private does not go there, not even as a question */
  readonly isPublic: boolean
  /** undefined where registries are not asked */
  readonly upstream?: UpstreamSource | undefined
  readonly log?: Log
}

/** How a transfer is fetched. */
interface FetchOptions {
  readonly siblings: readonly Digest[]
  readonly signal: AbortSignal
}

/** An attempt, and what it finds out for the next one. */
interface Attempt extends FetchOptions {
  /** upstream sent something else than the blob */
  isUpstreamWrong: boolean
  readonly isSwarmOut: boolean
}

// The swarm's torrent, or upstream, may turn out to be of other content: then the other one is tried.
const ATTEMPTS = 3

/** Brings blobs into the store, from swarm and upstream together. */
export class BlobSources {
  readonly #options: BlobSourcesOptions
  readonly #log: Log

  constructor(options: BlobSourcesOptions) {
    this.#options = options
    this.#log = options.log ?? silentLog
  }

  /**
   * @throws OperationError BLOB_UNKNOWN (nobody has it), TRANSFER_STALLED, BLOB_DIGEST_MISMATCH, UPSTREAM_…,
   * DISK_FULL …; the reason of `signal`
   */
  async fetch(transfer: BlobTransfer, options: FetchOptions): Promise<void> {
    const { isPublic, access } = this.#options
    const isSwarmOut = isPublic && (await access.isPrivate(transfer.digest))
    const run: Attempt = { ...options, isUpstreamWrong: false, isSwarmOut }
    let mismatch: unknown
    for (let attempt = 1; ; attempt += 1) {
      try {
        const isSmall = transfer.size >= 0 && transfer.size < SMALL_BLOB_BYTES
        const isWhole = isSmall || transfer.routes[0]?.kind === 'manifest'
        await (isWhole ? this.#fetchWhole(transfer, run) : this.#assemble(transfer, run))
        return
      } catch (error) {
        const mayHelp = isOperationError(error, 'BLOB_DIGEST_MISMATCH') && attempt < ATTEMPTS
        // That nobody else has it tells less than that what came was wrong.
        if (isOperationError(error, 'BLOB_UNKNOWN')) throw mismatch ?? error
        if (!mayHelp || options.signal.aborted) throw error
        mismatch = error
        this.#log.warn({ digest: transfer.digest, attempt }, 'what came is not the blob')
        transfer.onRestart()
      }
    }
  }

  /** A manifest or a small blob: one answer, straight into the store. */
  async #fetchWhole(transfer: BlobTransfer, run: Attempt): Promise<void> {
    const { swarm, upstream } = this.#options
    const { siblings, signal } = run
    const race = new BlobRace({
      transfer,
      siblings,
      signal,
      log: this.#log,
      hasPeers: swarm.hasPeers && !run.isSwarmOut,
      swarm: run.isSwarmOut
        ? nobody
        : (options) => swarm.fetchWhole(transfer, { siblings, ...options }),
      upstream:
        upstream && !run.isUpstreamWrong
          ? (route, options) => this.#ingest(transfer, { upstream, route, run, ...options })
          : undefined,
    })
    await race.run(new Promise(() => {}))
  }

  async #ingest(
    transfer: BlobTransfer,
    options: { upstream: UpstreamSource; route: UpstreamRoute; run: Attempt; signal: AbortSignal },
  ): Promise<void> {
    const { store, catalog } = this.#options
    const { upstream, route, run, signal } = options
    const { size, content } = await upstream.open(transfer, route, signal)
    if (size > MAX_WHOLE_BLOB_BYTES) {
      throw new OperationError(
        'UPSTREAM_FAULTY',
        `blob ${transfer.digest}: wanted at most ${MAX_WHOLE_BLOB_BYTES} bytes in one answer, found ${size}`,
      )
    }
    const chunks = await Array.fromAsync(content)
    // A copy: what came may lie in a buffer that is many times as large.
    const bytes = Buffer.concat(chunks)
    for (const chunk of chunks) release(chunk)
    const found = digestOf(bytes)
    if (found !== transfer.digest) {
      run.isUpstreamWrong = true
      const message = `blob ${transfer.digest}: upstream sends ${found}`
      throw new OperationError('BLOB_DIGEST_MISMATCH', message)
    }
    // Who reads need not wait for the disk.
    transfer.onWhole(bytes, 'upstream')
    const sink = new StoreSink({ store, catalog })
    await sink.ingest(only(bytes), { digest: found, size: bytes.length })
  }

  async #assemble(transfer: BlobTransfer, run: Attempt): Promise<void> {
    const { swarm, upstream, store } = this.#options
    const { siblings, signal } = run
    const torrent = await swarm.resumable(transfer.digest)
    await using assembly = new BlobAssembly({ ...this.#options, transfer, torrent })
    const race = new BlobRace({
      transfer,
      siblings,
      signal,
      log: this.#log,
      hasPeers: swarm.hasPeers && !run.isSwarmOut,
      swarm: run.isSwarmOut ? nobody : (options) => swarm.fill(assembly, { siblings, ...options }),
      upstream:
        upstream && !run.isUpstreamWrong
          ? (route, options) => upstream.fill(assembly, route, options.signal)
          : undefined,
    })
    await race.run(assembly.complete)
    // A small blob whose size was not known before came in one answer.
    if (!assembly.isOpen && (await store.has(transfer.digest))) return
    await this.#commit(assembly, run)
    // Before the partial blob is closed: whoever reads goes on with the blob in the store.
    transfer.onDone()
  }

  async #commit(assembly: BlobAssembly, run: Attempt): Promise<void> {
    const { torrent } = assembly
    try {
      await assembly.commit()
    } catch (error) {
      if (isOperationError(error, 'BLOB_DIGEST_MISMATCH')) {
        if (torrent) await this.#options.swarm.reject(torrent, assembly.voucher)
        else run.isUpstreamWrong = true
      }
      throw error
    }
  }
}

async function* only(bytes: Buffer): AsyncIterable<Buffer> {
  yield bytes
}

function nobody(): Promise<never> {
  return Promise.reject(
    new OperationError('BLOB_UNKNOWN', 'private content is not asked of strangers'),
  )
}
