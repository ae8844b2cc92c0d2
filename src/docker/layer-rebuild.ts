import { constants } from 'node:fs'
import { open, realpath, type FileHandle } from 'node:fs/promises'

import { archiveInvalid } from './archived-image.ts'
import { readTarSplit } from './tar-split.ts'

/** Headers are 512 bytes and most files are small: they are put together before they go on. */
const CHUNK_BYTES = 256 * 1024
const SLASH = Buffer.from('/')

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
  const files = new LayerFiles(await realpath(folder, 'buffer'))
  let pending: Buffer[] = []
  let pendingBytes = 0
  for await (const entry of readTarSplit(tarSplitPath)) {
    const parts = entry.kind === 'segment' ? [entry.bytes] : files.read(entry.name, entry.size)
    for await (const part of parts) {
      pending.push(part)
      pendingBytes += part.length
      if (pendingBytes < CHUNK_BYTES) continue
      yield Buffer.concat(pending)
      pending = []
      pendingBytes = 0
    }
  }
  if (pendingBytes > 0) yield Buffer.concat(pending)
}

/** The files below one folder. A link in a layer may point anywhere on this host: it is not followed out. */
class LayerFiles {
  readonly #root: Buffer
  /** the folder of the file before, which most often is that of the next */
  #folder: { readonly name: Buffer; readonly path: Buffer }

  constructor(root: Buffer) {
    this.#root = root
    this.#folder = { name: Buffer.alloc(0), path: root }
  }

  async *read(name: Buffer, size: number): AsyncGenerator<Buffer, void> {
    await using file = await this.#open(name)
    const found = await file.stat()
    if (!found.isFile() || found.size !== size) {
      const kind = found.isFile() ? `${found.size} bytes` : 'no file'
      throw archiveInvalid(`layer file ${name.toString()}`, {
        wanted: `${size} bytes`,
        found: kind,
      })
    }
    for (let offset = 0; offset < size;) {
      const length = Math.min(CHUNK_BYTES, size - offset)
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, offset)
      if (bytesRead === 0)
        throw archiveInvalid('layer file', { wanted: `${size} bytes`, found: offset })
      yield buffer.subarray(0, bytesRead)
      offset += bytesRead
    }
  }

  async #open(name: Buffer): Promise<FileHandle> {
    const parts = splitName(name)
    const last = parts.pop()
    if (!last) throw archiveInvalid('tar-split', { wanted: 'a file name', found: name.toString() })
    const folder = await this.#resolve(join(parts))
    // A pipe in place of the file must not make the node wait.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    return await open(join([folder, last]), flags)
  }

  async #resolve(name: Buffer): Promise<Buffer> {
    if (name.equals(this.#folder.name)) return this.#folder.path
    const path = await realpath(join([this.#root, name]), 'buffer')
    const isInside = join([path, Buffer.alloc(0)]).subarray(0, this.#root.length + 1)
    if (!isInside.equals(join([this.#root, Buffer.alloc(0)]))) {
      throw archiveInvalid(`layer folder ${name.toString()}`, {
        wanted: 'one inside',
        found: path.toString(),
      })
    }
    this.#folder = { name, path }
    return path
  }
}

/** The components of a name in a tar. @throws OperationError ARCHIVE_INVALID: it climbs */
function splitName(name: Buffer): Buffer[] {
  // latin1 keeps each byte, whatever the encoding of the name is.
  const parts = name.toString('latin1').split('/')
  if (parts.includes('..') || name.includes(0)) {
    throw archiveInvalid('tar-split', { wanted: 'a name inside the layer', found: name.toString() })
  }
  return parts
    .filter((part) => part !== '' && part !== '.')
    .map((part) => Buffer.from(part, 'latin1'))
}

function join(parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts.flatMap((part, index) => (index === 0 ? [part] : [SLASH, part])))
}
