import { OperationError } from '../errors.ts'
import { BufferLender, release } from '../support/buffer-lender.ts'
import { pieceLength } from '../torrent/piece-length.ts'
import type { Upstream, UpstreamBlob } from '../upstream/upstream.ts'
import { BandwidthOrder } from './bandwidth-order.ts'
import type { BlobAssembly } from './blob-assembly.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import type { ContentAccess } from './content-access.ts'
import type { UpstreamRoute } from './upstream-route.ts'

interface UpstreamSourceOptions {
  readonly upstream: Upstream
  readonly access: Pick<ContentAccess, 'onGiven'>
  readonly order?: BandwidthOrder
}

// While one piece is written the next one is filled.
const WRITES_AT_ONCE = 2
// What is smaller than this waits for nobody: a config, most of all.
const MIN_ORDERED_BYTES = 1024 * 1024
const MAX_IDLE_PIECE_BYTES = 8 * 1024 * 1024
// A run of pieces that peers brought is read over; a longer one is worth a request of its own.
const MAX_SKIPPED_BYTES = 4 * 1024 * 1024

/** Brings blobs from their registry, piece by piece, the lowest layer first. */
export class UpstreamSource {
  readonly #options: UpstreamSourceOptions
  readonly #order: BandwidthOrder
  readonly #pieces = new BufferLender({ maxBytes: MAX_IDLE_PIECE_BYTES })
  #lastRank = 0

  constructor(options: UpstreamSourceOptions) {
    this.#options = options
    this.#order = options.order ?? new BandwidthOrder()
  }

  /**
   * Fills what is missing, from the lowest piece on, until nothing is missing or `signal` fires.
   * @throws OperationError BLOB_UNKNOWN (upstream has none), UPSTREAM_…, BLOB_DIGEST_MISMATCH (it contradicts the
   * torrent), DISK_FULL …; the reason of `signal`
   */
  async fill(assembly: BlobAssembly, route: UpstreamRoute, signal: AbortSignal): Promise<void> {
    const { transfer } = assembly
    for (;;) {
      signal.throwIfAborted()
      const first = transfer.size < 0 ? 0 : assembly.nextMissing(0)
      if (first < 0) return
      const start = first === 0 ? 0 : first * pieceLength(transfer.size)
      const blob = await this.#open(transfer, { route, start, signal })
      if (transfer.size < 0) transfer.onSize(blob.size)
      if (transfer.size === 0) return void (await assembly.open())
      if (await this.#take(assembly, { blob, first, signal })) return
    }
  }

  /** A blob of which the caller takes care itself. */
  async open(
    transfer: BlobTransfer,
    route: UpstreamRoute,
    signal: AbortSignal,
  ): Promise<UpstreamBlob> {
    return this.#open(transfer, { route, start: 0, signal })
  }

  async #open(
    transfer: BlobTransfer,
    { route, start, signal }: { route: UpstreamRoute; start: number; signal: AbortSignal },
  ): Promise<UpstreamBlob> {
    const { digest, size } = transfer
    const { repository, identity, kind } = route
    const { upstream, access } = this.#options
    const startedMs = performance.now()
    const blob =
      kind === 'manifest'
        ? await this.#openManifest(transfer, route, signal)
        : await upstream.blob(
            repository,
            { digest, start, ...(size >= 0 && { size }) },
            { identity, signal },
          )
    transfer.onWait('upstream', performance.now() - startedMs)
    if (!blob) {
      throw new OperationError(
        'BLOB_UNKNOWN',
        `blob ${digest}: ${repository.registry}/${repository.repository} does not have it`,
      )
    }
    // Before a byte of it is anywhere: whether it may be given to others.
    await access.onGiven({ repository, digest, kind, identity }, blob.access)
    return blob
  }

  async #openManifest(
    { digest }: BlobTransfer,
    { repository, identity }: UpstreamRoute,
    signal: AbortSignal,
  ): Promise<UpstreamBlob | undefined> {
    const manifest = await this.#options.upstream.manifest(repository, digest, { identity, signal })
    if (!manifest) return undefined
    const { bytes, access } = manifest
    return { size: bytes.length, access, content: only(bytes) }
  }

  /** @returns false where it stopped before a long run of pieces that are here: the rest is asked for anew */
  async #take(
    assembly: BlobAssembly,
    { blob, first, signal }: { blob: UpstreamBlob; first: number; signal: AbortSignal },
  ): Promise<boolean> {
    const { transfer } = assembly
    const length = pieceLength(transfer.size)
    const rank = this.#rankOf(transfer)
    const { stream, end } = this.#order.add(rank)
    const pass = async (bytes: number) => {
      const waitedMs = await this.#order.pass(stream, bytes, signal)
      if (waitedMs > 0) transfer.onWait('turn', waitedMs)
    }
    const writer = new PieceWriter(assembly, { first, length, lender: this.#pieces })
    try {
      if (transfer.size >= MIN_ORDERED_BYTES && this.#order.mustWait(stream)) {
        // Whoever asks for it is told that it can be had.
        await assembly.open()
        await pass(0)
      }
      for await (const chunk of blob.content) {
        signal.throwIfAborted()
        await writer.write(chunk)
        await transfer.letReadersFollow(writer.index * length)
        await pass(chunk.length)
        if (writer.isAtPieceStart && this.#isWorthLeaving(assembly, writer.index, length)) {
          await writer.settled()
          return false
        }
      }
      await writer.settled()
      return true
    } finally {
      end()
    }
  }

  #isWorthLeaving(assembly: BlobAssembly, index: number, length: number): boolean {
    const next = assembly.nextMissing(index)
    return next < 0 || (next - index) * length > MAX_SKIPPED_BYTES
  }

  /** What clients wait for goes before what is fetched ahead; then the order of the layers. */
  #rankOf(transfer: BlobTransfer): () => number {
    this.#lastRank += 1
    const arrival = this.#lastRank
    return () => {
      const ahead = transfer.isWanted ? 0 : 1e12
      return ahead + transfer.order * 1e6 + (arrival % 1e6)
    }
  }
}

/** Cuts a stream into pieces and writes them while the next ones come. Releases the buffers that it is given. */
class PieceWriter {
  readonly #assembly: BlobAssembly
  readonly #lender: BufferLender
  readonly #length: number
  readonly #size: number
  #index: number
  #buffer: Buffer | undefined
  #filled = 0
  #writes: Promise<void>[] = []

  constructor(
    assembly: BlobAssembly,
    options: { first: number; length: number; lender: BufferLender },
  ) {
    this.#assembly = assembly
    this.#lender = options.lender
    this.#index = options.first
    this.#length = options.length
    this.#size = assembly.transfer.size
  }

  /** the piece that is being filled */
  get index(): number {
    return this.#index
  }

  get isAtPieceStart(): boolean {
    return this.#filled === 0
  }

  async write(chunk: Buffer): Promise<void> {
    for (let offset = 0; offset < chunk.length;) {
      const wanted = Math.min(this.#length, this.#size - this.#index * this.#length)
      if (wanted <= 0) throw new TypeError('upstream brought more bytes than it promised')
      // As long as nothing is cut into pieces differently, a chunk is a piece as it came.
      if (this.#filled === 0 && chunk.length - offset === wanted) {
        await this.#flush(offset === 0 ? chunk : chunk.subarray(offset))
        return
      }
      this.#buffer ??= this.#lender.lend(wanted)
      const copied = chunk.copy(this.#buffer, this.#filled, offset)
      this.#filled += copied
      offset += copied
      if (this.#filled === wanted) await this.#flush(this.#buffer)
    }
    release(chunk)
  }

  /** Waits until every whole piece is written. @throws what a write failed with */
  async settled(): Promise<void> {
    await Promise.all(this.#writes)
  }

  async #flush(bytes: Buffer): Promise<void> {
    const index = this.#index
    this.#index += 1
    this.#buffer = undefined
    this.#filled = 0
    const write = this.#writePiece(index, bytes)
    // Its failure is for whoever awaits it here or in settled, however late.
    write.catch(() => undefined)
    this.#writes.push(write)
    if (this.#writes.length >= WRITES_AT_ONCE) await this.#writes.shift()
  }

  async #writePiece(index: number, bytes: Buffer): Promise<void> {
    if (await this.#assembly.writeFromUpstream(index, bytes)) return release(bytes)
    const { digest } = this.#assembly.transfer
    throw new OperationError(
      'BLOB_DIGEST_MISMATCH',
      `blob ${digest}: piece ${index} from upstream is not what its torrent says`,
      { details: { piece: index } },
    )
  }
}

async function* only(bytes: Buffer): AsyncIterable<Buffer> {
  yield bytes
}
