import { constants } from 'node:fs'
import { open, realpath, type FileHandle } from 'node:fs/promises'

import { archiveInvalid } from './archived-image.ts'

const CHUNK_BYTES = 256 * 1024
const SLASH = Buffer.from('/')
const NOTHING = Buffer.alloc(0)

/** The unpacked files of a layer. A link in a layer may point anywhere on this host: it is not followed out. */
export class LayerFiles {
  readonly #root: Buffer
  /** the folder of the file before, which most often is that of the next */
  #folder: { readonly name: Buffer; readonly path: Promise<Buffer> }

  private constructor(root: Buffer) {
    this.#root = root
    this.#folder = { name: Buffer.alloc(0), path: Promise.resolve(root) }
  }

  /** @throws system errors: no such folder */
  static async open(folder: string): Promise<LayerFiles> {
    return new LayerFiles(await realpath(folder, 'buffer'))
  }

  /**
   * The content of a file, in pieces.
   * @param name as in the tar, in whatever encoding
   * @throws OperationError ARCHIVE_INVALID: outside, no file, of another size; system errors
   */
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
    if (!name.equals(this.#folder.name)) {
      const path = this.#resolveInside(name)
      // Who asks for the same folder meets the same failure.
      path.catch(() => undefined)
      this.#folder = { name, path }
    }
    return await this.#folder.path
  }

  async #resolveInside(name: Buffer): Promise<Buffer> {
    const path = await realpath(join([this.#root, name]), 'buffer')
    const [found, wanted] = [join([path, NOTHING]), join([this.#root, NOTHING])]
    if (found.subarray(0, wanted.length).equals(wanted)) return path
    throw archiveInvalid(`layer folder ${name.toString()}`, {
      wanted: 'one inside',
      found: path.toString(),
    })
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
