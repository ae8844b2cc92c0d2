import { randomUUID } from 'node:crypto'

import { isOperationError, OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Sha512Digest } from '../oci/sha512-digest.ts'
import type { BlobStore, BlobUpload } from '../store/blob-store.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import { pieceLength } from '../torrent/piece-length.ts'

/** Bounds of uploads. */
export interface PushLimits {
  /** of one blob, bytes */
  readonly maxBlobBytes: number
  readonly maxSessions: number
  /** without a byte, after which an upload is given up */
  readonly idleMs: number
}

export const DEFAULT_PUSH_LIMITS: Omit<PushLimits, 'maxBlobBytes'> = {
  maxSessions: 128,
  idleMs: 15 * 60_000,
}

/** Keeps the blob of an upload that has all its bytes. @throws OperationError BLOB_DIGEST_MISMATCH, DISK_FULL … */
export type KeepUpload = (options: {
  repository: string
  upload: BlobUpload
  digest: Digest | Sha512Digest
}) => Promise<void>

interface PushSessionsOptions {
  readonly store: BlobStore
  readonly limits: PushLimits
  readonly keep: KeepUpload
}

/** The uploads that are under way: few, and none that nobody goes on with. */
export class PushSessions implements AsyncDisposable {
  readonly #options: PushSessionsOptions
  readonly #sessions = new Map<string, PushSession>()
  #opening = 0

  constructor(options: PushSessionsOptions) {
    this.#options = options
  }

  /** @throws OperationError UPLOADS_EXHAUSTED, DISK_FULL, DISK_READ_ONLY */
  async begin(repository: string): Promise<PushSession> {
    const { store, limits, keep } = this.#options
    if (this.#sessions.size + this.#opening >= limits.maxSessions) {
      const message = `${limits.maxSessions} uploads are open already`
      throw new OperationError('UPLOADS_EXHAUSTED', message)
    }
    this.#opening += 1
    try {
      const upload = await store.openUpload({ pieceLengthOf: pieceLength })
      const onEnd = () => this.#sessions.delete(session.id)
      const session: PushSession = new PushSession({ repository, upload, limits, keep, onEnd })
      this.#sessions.set(session.id, session)
      return session
    } finally {
      this.#opening -= 1
    }
  }

  find(repository: string, id: string): PushSession | undefined {
    const session = this.#sessions.get(id)
    return session?.repository === repository ? session : undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions.values()) await session.cancel()
  }
}

interface PushSessionOptions {
  readonly repository: string
  readonly upload: BlobUpload
  readonly limits: PushLimits
  readonly keep: KeepUpload
  readonly onEnd: () => void
}

/** One upload, from its first request to its last. */
export class PushSession {
  readonly id = randomUUID()
  readonly #options: PushSessionOptions
  readonly #turns = new KeyedLock()
  readonly #ending = new AbortController()
  #idle: NodeJS.Timeout | undefined

  constructor(options: PushSessionOptions) {
    this.#options = options
    this.#stayAwake()
  }

  get repository(): string {
    return this.#options.repository
  }

  get size(): number {
    return this.#options.upload.size
  }

  /** As `BlobUploadSession.append`. */
  async append(
    source: AsyncIterable<Uint8Array>,
    { offset, signal }: { offset?: number; signal: AbortSignal },
  ): Promise<boolean> {
    return this.#inTurn(async () => {
      if (offset !== undefined && offset !== this.size) return false
      try {
        await this.#take(source, signal)
      } catch (error) {
        // A client that went away may come back for the rest; what failed here cannot be mended by it.
        if (isOperationError(error)) await this.#end()
        throw error
      }
      return true
    })
  }

  /** As `BlobUploadSession.finish`. */
  async finish({
    digest,
    source,
    offset,
    signal,
  }: {
    digest: Digest | Sha512Digest
    source: AsyncIterable<Uint8Array>
    offset?: number
    signal: AbortSignal
  }): Promise<boolean> {
    return this.#inTurn(async () => {
      if (offset !== undefined && offset !== this.size) return false
      let isChunkCut = offset !== undefined
      try {
        await this.#take(source, signal)
        isChunkCut = false
        const { repository, upload, keep } = this.#options
        await keep({ repository, upload, digest })
      } catch (error) {
        isChunkCut &&= !isOperationError(error)
        throw error
      } finally {
        if (!isChunkCut) await this.#end()
      }
      return true
    })
  }

  /** Ends the upload, whatever is under way; nothing stays. */
  async cancel(): Promise<void> {
    this.#ending.abort(ended())
    await this.#turns.run('', () => this.#end())
  }

  async #take(source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const { upload, limits } = this.#options
    await upload.append(this.#awake(source), {
      maxBytes: limits.maxBlobBytes,
      signal: AbortSignal.any([signal, this.#ending.signal]),
    })
  }

  /** An upload with bytes under way is not idle. */
  async *#awake(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.#stayAwake()
      yield chunk
    }
  }

  #stayAwake(): void {
    clearTimeout(this.#idle)
    // unref: nobody waits for an upload that nobody goes on with
    this.#idle = setTimeout(() => void this.cancel(), this.#options.limits.idleMs).unref()
  }

  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#turns.run('', async () => {
      this.#ending.signal.throwIfAborted()
      this.#stayAwake()
      return work()
    })
  }

  async #end(): Promise<void> {
    clearTimeout(this.#idle)
    this.#ending.abort(ended())
    await this.#options.upload[Symbol.asyncDispose]()
    this.#options.onEnd()
  }
}

function ended(): OperationError {
  return new OperationError('UPLOAD_UNKNOWN', 'upload: it was ended')
}
