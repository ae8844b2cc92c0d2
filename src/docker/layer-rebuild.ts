import { collectBytes } from './byte-streams.ts'
import { LayerFiles } from './layer-files.ts'
import { readTarSplit, type TarSplitEntry } from './tar-split.ts'

/** Headers are 512 bytes and most files are small: they are put together before they go on. */
const CHUNK_BYTES = 256 * 1024
// measured: a layer of 6700 files and 128 MB takes 2.8 to 4.2 s one after another, 1.3 to 2.8 s like this
const ENTRIES_AHEAD = 32
const SMALL_FILE_BYTES = 128 * 1024

/**
 * The tar of a layer, byte for byte, from its tar-split and its unpacked files. The caller proves the digest.
 * @throws OperationError ARCHIVE_INVALID: a file is not what the tar-split says; system errors
 */
export async function* rebuildLayer({
  tarSplitPath,
  folder,
}: {
  tarSplitPath: string
  folder: string
}): AsyncGenerator<Uint8Array, void> {
  const files = await LayerFiles.open(folder)
  let pending: Buffer[] = []
  let pendingBytes = 0
  for await (const part of partsOf(tarSplitPath, files)) {
    pending.push(part)
    pendingBytes += part.length
    if (pendingBytes < CHUNK_BYTES) continue
    yield Buffer.concat(pending)
    pending = []
    pendingBytes = 0
  }
  if (pendingBytes > 0) yield Buffer.concat(pending)
}

type LargeFile = Extract<TarSplitEntry, { kind: 'file' }>

async function* partsOf(tarSplitPath: string, files: LayerFiles): AsyncGenerator<Buffer, void> {
  const ahead: Promise<Buffer | LargeFile>[] = []
  for await (const entry of readTarSplit(tarSplitPath)) {
    ahead.push(begin(entry, files))
    if (ahead.length > ENTRIES_AHEAD) yield* finish(await ahead.shift(), files)
  }
  for (const part of ahead) yield* finish(await part, files)
}

/** Starts to read a small file; a large one waits for its turn. */
function begin(entry: TarSplitEntry, files: LayerFiles): Promise<Buffer | LargeFile> {
  if (entry.kind === 'segment') return Promise.resolve(entry.bytes)
  if (entry.size > SMALL_FILE_BYTES) return Promise.resolve(entry)
  const content = collectBytes(files.read(entry.name, entry.size))
  // Its failure is met in its turn.
  content.catch(() => undefined)
  return content
}

async function* finish(
  part: Buffer | LargeFile | undefined,
  files: LayerFiles,
): AsyncGenerator<Buffer, void> {
  if (Buffer.isBuffer(part)) yield part
  else if (part) yield* files.read(part.name, part.size)
}
