import { open, type FileHandle } from 'node:fs/promises'

import { diskError } from '../support/disk-error.ts'
import { readExactly, readInto, writeAt } from './file-bytes.ts'
import { hasBit, setBit } from './partial-bitfield.ts'

/**
 * The file of a partial blob in another process than the one that owns the blob: pieces are written and read here,
 * and what is here is told there. Which bytes count, and when they are durable, is decided there.
 */
export class PieceFile implements AsyncDisposable {
  readonly size: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly bitfield: Uint8Array
  readonly #file: FileHandle
  #closing: Promise<void> | undefined

  private constructor(
    file: FileHandle,
    { size, pieceLength, bitfield }: { size: number; pieceLength: number; bitfield: Uint8Array },
  ) {
    this.#file = file
    this.size = size
    this.pieceLength = pieceLength
    this.pieceCount = Math.ceil(size / pieceLength)
    this.bitfield = Uint8Array.from(bitfield)
  }

  /** @param options.bitfield the pieces that are in the file @throws OperationError DISK_…; the system's error */
  static async open(
    path: string,
    options: { size: number; pieceLength: number; bitfield: Uint8Array },
  ): Promise<PieceFile> {
    return new PieceFile(await open(path, 'r+'), options)
  }

  hasPiece(index: number): boolean {
    return hasBit(this.bitfield, index)
  }

  /** Another piece came into the file from elsewhere. */
  onForeignPiece(index: number): void {
    setBit(this.bitfield, index, true)
  }

  /** @throws OperationError DISK_FULL, DISK_READ_ONLY, DISK_FAULTY */
  async writePiece(index: number, bytes: Uint8Array): Promise<void> {
    if (this.hasPiece(index)) return
    try {
      await writeAt(this.#file, bytes, index * this.pieceLength)
    } catch (error) {
      throw diskError(error, `piece ${index} of a partial blob`)
    }
    setBit(this.bitfield, index, true)
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return readExactly(this.#file, offset, length)
  }

  async readInto(bytes: Uint8Array, offset: number): Promise<void> {
    return readInto(this.#file, bytes, offset)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#file.close()
    return this.#closing
  }
}
