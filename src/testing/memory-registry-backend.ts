import { digestOf, isDigest, type Digest } from '../oci/digest.ts'
import { parseManifest } from '../oci/manifest.ts'
import type {
  BlobContent,
  DoorName,
  ManifestContent,
  ReferrerEntry,
  RegistryBackend,
} from '../registry/registry-backend.ts'
import type { ByteRange } from '../store/blob-store.ts'

/** What a test makes a blob do while it is read. */
export interface BlobBehaviour {
  /** bytes of one chunk */
  readonly chunkBytes?: number
  /** awaited before the chunk that begins at `offset`; throw to fail there */
  readonly before?: (offset: number, signal: AbortSignal) => Promise<void> | void
}

/** What was asked, as the backend saw it. */
export interface AskedRequest {
  readonly verb: 'manifest' | 'blob' | 'tags' | 'referrers'
  readonly name: DoorName
  readonly tag?: string
  readonly digest?: Digest
}

const DEFAULT_CHUNK_BYTES = 64 * 1024

/** A registry backend over what a test puts in. Every repository holds every blob and manifest. */
export class MemoryRegistryBackend implements RegistryBackend {
  readonly asked: AskedRequest[] = []
  /** reads that were begun and are not over */
  openReads = 0
  readonly #blobs = new Map<Digest, { bytes: Buffer; behaviour: BlobBehaviour }>()
  readonly #manifests = new Map<Digest, ManifestContent>()
  readonly #tags = new Map<string, Digest>()
  readonly #referrers = new Map<Digest, ReferrerEntry[]>()
  /** awaited before every answer; throw to fail */
  beforeAnswer: (request: AskedRequest, signal: AbortSignal) => Promise<void> | void = () => {}

  addBlob(bytes: Buffer, behaviour: BlobBehaviour = {}): Digest {
    const digest = digestOf(bytes)
    this.#blobs.set(digest, { bytes, behaviour })
    return digest
  }

  addManifest(text: string, { tags = [] }: { tags?: readonly string[] } = {}): ManifestContent {
    const bytes = Buffer.from(text)
    const manifest = { digest: digestOf(bytes), mediaType: parseManifest(bytes).mediaType, bytes }
    this.#manifests.set(manifest.digest, manifest)
    for (const tag of tags) this.#tags.set(tag, manifest.digest)
    return manifest
  }

  async manifest(
    request: { name: DoorName; tag?: string; digest?: Digest },
    { signal }: { signal: AbortSignal },
  ): Promise<ManifestContent | undefined> {
    await this.#note({ verb: 'manifest', ...request }, signal)
    const digest = request.digest ?? this.#tags.get(request.tag ?? '')
    return digest && this.#manifests.get(digest)
  }

  async blob(
    request: { name: DoorName; digest: Digest },
    { signal }: { signal: AbortSignal },
  ): Promise<BlobContent | undefined> {
    await this.#note({ verb: 'blob', ...request }, signal)
    const blob = this.#blobs.get(request.digest)
    if (!blob) return undefined
    return {
      size: blob.bytes.length,
      read: (range, options) => this.#read(blob.bytes, blob.behaviour, range, options.signal),
    }
  }

  async tags(
    request: { name: DoorName },
    { signal }: { signal: AbortSignal },
  ): Promise<readonly string[] | undefined> {
    await this.#note({ verb: 'tags', ...request }, signal)
    return this.#tags.size > 0 ? [...this.#tags.keys()] : undefined
  }

  addReferrers(subject: Digest, entries: ReferrerEntry[]): void {
    this.#referrers.set(subject, entries)
  }

  /** Of what has an upstream, only that one can say. */
  async referrers(
    { name, digest }: { name: DoorName; digest: string },
    { signal }: { signal: AbortSignal },
  ): Promise<readonly ReferrerEntry[] | undefined> {
    if (!isDigest(digest)) return undefined
    const request = { name, digest }
    await this.#note({ verb: 'referrers', ...request }, signal)
    if (request.name.scope === 'upstream') return undefined
    return this.#referrers.get(request.digest) ?? []
  }

  async #note(request: AskedRequest, signal: AbortSignal): Promise<void> {
    this.asked.push(request)
    await this.beforeAnswer(request, signal)
  }

  async *#read(
    bytes: Buffer,
    { chunkBytes = DEFAULT_CHUNK_BYTES, before }: BlobBehaviour,
    { start, end }: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    this.openReads += 1
    try {
      for (let offset = start; offset <= end; offset += chunkBytes) {
        await before?.(offset, signal)
        signal.throwIfAborted()
        yield bytes.subarray(offset, Math.min(offset + chunkBytes, end + 1))
      }
    } finally {
      this.openReads -= 1
    }
  }
}
