/**
 * The files of a tar, kept while it passes: what may be a layer goes straight into the sink; small JSON
 * files wait in memory, because what refers to them may come last; anything else is passed over.
 */
import { OperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { peek } from './archive-compression.ts'
import { MAX_TABLE_BYTES, type ArchiveFiles, type StoredFile } from './archive-files.ts'
import { promisedDigest, suggestedDigest } from './archive-path.ts'
import type { BlobSink } from './blob-sink.ts'
import { collectBytes, streamOf } from './byte-streams.ts'
import type { TarFile, TarLink } from './tar-entries.ts'

/** JSON beyond this waits in the sink instead. */
const MAX_HELD_BYTES = 64 * 1024 * 1024
const MAX_LINK_HOPS = 16
const TABLES: ReadonlySet<string> = new Set(['index.json', 'manifest.json', 'oci-layout'])
// The v1 configs of each layer, which archives carry for Docker before 1.10.
const IGNORED = /^repositories$|(?:^|\/)(?:VERSION|json)$/
const LAYER_NAME = /\.(?:tar|tgz)(?:\.[a-z0-9]+)?$/
// Docker: `<hex>.json`; go-containerregistry: `sha256:<hex>`.
const CONFIG_NAME = /\.json$|^sha256:[0-9a-f]{64}$/

/** Reads a tar to its end. The caller closes its source. */
export async function collectTarFiles(
  entries: AsyncIterable<TarFile | TarLink>,
  sink: BlobSink,
): Promise<ArchiveFiles> {
  const files = new TarArchiveFiles(sink)
  for await (const entry of entries) await files.take(entry)
  return files
}

class TarArchiveFiles implements ArchiveFiles {
  readonly #sink: BlobSink
  readonly #stored = new Map<string, StoredFile>()
  readonly #held = new Map<string, Buffer>()
  readonly #links = new Map<string, string>()
  #heldBytes = 0

  constructor(sink: BlobSink) {
    this.#sink = sink
  }

  /** Of two entries with one name the later counts, as in every reader of tars. */
  async take(entry: TarFile | TarLink): Promise<void> {
    this.#forget(entry.path)
    if (entry.kind === 'link') this.#links.set(entry.path, entry.target)
    else if (TABLES.has(entry.path)) this.#hold(entry.path, await readTable(entry))
    else if (!IGNORED.test(entry.path) && !(await this.#isKnown(entry))) await this.#keep(entry)
  }

  async read(path: string, maxBytes: number): Promise<Buffer | undefined> {
    const found = this.#resolve(path)
    const size = this.#held.get(found)?.length ?? this.#stored.get(found)?.size
    if (size === undefined) return undefined
    if (size > maxBytes) throw tooLarge(path, maxBytes, size)
    return this.#held.get(found) ?? (await this.#readStored(found))
  }

  async store(path: string): Promise<StoredFile | undefined> {
    const found = this.#resolve(path)
    const held = this.#held.get(found)
    if (held) await this.#storeHeld(found, held)
    return this.#stored.get(found)
  }

  /** A blob that the sink has, by its name and size, is not read again. */
  async #isKnown({ path, size }: TarFile): Promise<boolean> {
    const digest = suggestedDigest(path)
    if (digest === undefined || (await this.#sink.stat(digest))?.size !== size) return false
    this.#stored.set(path, { digest, size })
    return true
  }

  async #keep({ path, size, bytes }: TarFile): Promise<void> {
    const { head, whole } = await peek(bytes, 1)
    const fits = size <= MAX_MANIFEST_BYTES && this.#heldBytes + size <= MAX_HELD_BYTES
    const digest = promisedDigest(path)
    const isJson = head.toString() === '{' || CONFIG_NAME.test(path)
    if (fits && isJson) this.#hold(path, await collectBytes(whole))
    else if (digest !== undefined || LAYER_NAME.test(path)) {
      const stored = await this.#sink.ingest(whole, { size, ...(digest && { digest }) })
      this.#stored.set(path, { digest: stored.digest, size })
    }
  }

  #hold(path: string, content: Buffer): void {
    const wanted = promisedDigest(path)
    if (wanted !== undefined && digestOf(content) !== wanted) {
      const found = digestOf(content)
      throw new OperationError(
        'BLOB_DIGEST_MISMATCH',
        `blob in the archive: wanted ${wanted}, found ${found}`,
        { details: { wanted, found } },
      )
    }
    this.#held.set(path, content)
    this.#heldBytes += content.length
  }

  async #storeHeld(path: string, content: Buffer): Promise<void> {
    const digest = digestOf(content)
    const known = await this.#sink.stat(digest)
    if (!known) await this.#sink.ingest(streamOf(content), { size: content.length, digest })
    this.#stored.set(path, { digest, size: content.length })
  }

  async #readStored(path: string): Promise<Buffer | undefined> {
    const stored = this.#stored.get(path)
    return stored && (await this.#sink.read(stored.digest))
  }

  #resolve(path: string): string {
    let found = path
    for (let hop = 0; hop < MAX_LINK_HOPS; hop += 1) {
      const target = this.#links.get(found)
      if (target === undefined) return found
      found = target
    }
    throw new OperationError('ARCHIVE_INVALID', `archive entry "${path}": its links lead nowhere`)
  }

  #forget(path: string): void {
    this.#heldBytes -= this.#held.get(path)?.length ?? 0
    this.#held.delete(path)
    this.#stored.delete(path)
    this.#links.delete(path)
  }
}

async function readTable({ path, size, bytes }: TarFile): Promise<Buffer> {
  if (size > MAX_TABLE_BYTES) throw tooLarge(path, MAX_TABLE_BYTES, size)
  return await collectBytes(bytes)
}

function tooLarge(path: string, wanted: number, found: number): OperationError {
  return new OperationError(
    'ARCHIVE_INVALID',
    `archive entry "${path}": wanted at most ${wanted} bytes, found ${found}`,
    { details: { wanted, found } },
  )
}
