import { pipeline } from 'node:stream/promises'

import { extract, type Header } from 'tar-stream'

import { isOperationError, messageOf, OperationError } from '../errors.ts'
import { decompress } from './archive-compression.ts'
import { folderOf, normaliseArchivePath, normaliseEntryName } from './archive-path.ts'

/** More entries than this are refused; a thousand images of a hundred layers have fewer. */
const MAX_ENTRIES = 300_000

/** A file of a tar. Its bytes flow once, and only until the next entry is asked for. */
export interface TarFile {
  readonly kind: 'file'
  readonly path: string
  /** bytes */
  readonly size: number
  readonly bytes: AsyncIterable<Uint8Array>
}

/** A symbolic or hard link to another path of the same tar. */
export interface TarLink {
  readonly kind: 'link'
  readonly path: string
  readonly target: string
}

/**
 * The files and links of a tar, plain or in gzip or zstd, in their order; folders are left out.
 * Failures of `source` pass unchanged, and so does the reason of `signal`.
 * @throws OperationError ARCHIVE_INVALID: not a tar, cut off, names or links that leave it, devices
 */
export async function* readTarEntries(
  source: AsyncIterable<Uint8Array>,
  { signal }: { signal?: AbortSignal } = {},
): AsyncGenerator<TarFile | TarLink, void> {
  signal?.throwIfAborted()
  const tar = extract()
  const watched = new WatchedSource(decompress(source))
  const feeding = pipeline(watched.bytes(), tar, signal ? { signal } : {})
  // The loop below meets the same failure; this keeps it from being reported twice.
  feeding.catch(() => undefined)
  const explain = (error: unknown) => watched.explain(error, signal)
  try {
    let count = 0
    for await (const entry of tar) {
      if (++count > MAX_ENTRIES) throw invalid(`wanted at most ${MAX_ENTRIES} entries`)
      const bytes = bytesOf(entry, explain)
      const checked = checkEntry(entry.header, bytes)
      if (checked) yield checked
      await drain(bytes)
    }
    await feeding
    if (watched.count === 0) throw invalid('wanted a tar, found nothing')
  } catch (error) {
    throw explain(error)
  } finally {
    tar.destroy()
  }
}

/** Remembers why a source failed, whatever the streams behind it make of it. */
class WatchedSource {
  count = 0
  #failure: { readonly error: unknown } | undefined
  readonly #source: AsyncIterable<Uint8Array>

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source
  }

  async *bytes(): AsyncGenerator<Uint8Array, void> {
    try {
      for await (const chunk of this.#source) {
        this.count += chunk.length
        yield chunk
      }
    } catch (error) {
      this.#failure = { error }
      throw error
    }
  }

  explain(error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason
    if (this.#failure) return this.#failure.error
    return isOperationError(error) ? error : invalid(messageOf(error), error)
  }
}

function checkEntry(
  header: Header,
  bytes: AsyncIterable<Uint8Array>,
): TarFile | TarLink | undefined {
  if (header.type === 'directory') return undefined
  const path = normaliseEntryName(header.name)
  if (path === '') throw invalid('found a file without a name')
  if (header.type === 'symlink' || header.type === 'link') {
    return { kind: 'link', path, target: linkTarget(path, header) }
  }
  if (header.type !== 'file' && header.type !== 'contiguous-file') {
    throw invalid(`entry "${path}": wanted files, folders and links, found ${header.type}`)
  }
  const { size } = header
  if (!Number.isSafeInteger(size)) throw invalid(`entry "${path}": its size is ${size}`)
  return { kind: 'file', path, size, bytes }
}

/** A symbolic link starts from its own folder, a hard link from the root of the tar. */
function linkTarget(path: string, { type, linkname }: Header): string {
  return normaliseArchivePath(linkname, type === 'symlink' ? folderOf(path) : '')
}

async function* bytesOf(
  entry: AsyncIterable<unknown>,
  explain: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const chunk of entry) yield chunk as Uint8Array
  } catch (error) {
    throw explain(error)
  }
}

/** Reads what nobody wanted, so that the next entry can come. */
async function drain(bytes: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const unwanted of bytes) void unwanted
}

function invalid(found: string, cause?: unknown): OperationError {
  return new OperationError('ARCHIVE_INVALID', `archive: ${found}`, { cause })
}
