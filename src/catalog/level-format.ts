import { crc32c } from './crc32c.ts'

// leveldb, util/crc32c.h: a check that lies among what is checked is rotated and moved by this
const CRC_MASK_DELTA = 0xa282ead8

/** A file of LevelDB is not what LevelDB wrote. */
export class UnsoundFile extends Error {}

/** The check of bytes as LevelDB's files have it. */
export function maskedCrcOf(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return ((((crc >>> 15) | (crc << 17)) >>> 0) + CRC_MASK_DELTA) >>> 0
}

/** A part of a table file. */
export interface BlockHandle {
  readonly offset: number
  readonly size: number
}

/** Reads little-endian numbers of seven bits a byte. */
export class VarintReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length
  }

  varint(): number {
    let value = 0
    for (let factor = 1; factor < 2 ** 49; factor *= 128) {
      const byte = this.#bytes[this.#at]
      if (byte === undefined) throw new UnsoundFile('a number is cut off')
      this.#at += 1
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
    throw new UnsoundFile('a number is too long')
  }

  /** Where a block lies and how long its contents are. */
  handle(): BlockHandle {
    return { offset: this.varint(), size: this.varint() }
  }

  skip(bytes: number): Buffer {
    const skipped = this.#bytes.subarray(this.#at, this.#at + bytes)
    this.#at += bytes
    return skipped
  }
}
