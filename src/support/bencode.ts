/** A decoded value: byte strings are Buffers, dictionaries are Maps, so that no key can mean anything else. */
export type BencodeValue = number | Buffer | BencodeValue[] | ReadonlyMap<string, BencodeValue>

/** How much a stranger may make us keep. */
export interface BencodeLimits {
  /** how deep lists and dictionaries may nest */
  readonly depth: number
  /** how many values there may be in all */
  readonly values: number
}

const DEFAULT_LIMITS: BencodeLimits = { depth: 6, values: 1024 }
const MAX_KEY_BYTES = 64
const INTEGER = 0x69
const LIST = 0x6c
const DICTIONARY = 0x64
const END = 0x65
const COLON = 0x3a
// BEP 3: no leading zeros, no minus zero
const WHOLE_NUMBER = /^(?:0|-?[1-9]\d{0,15})$/
const PRINTABLE = /^[ -~]*$/
const LENGTH = /^(?:0|[1-9]\d{0,7})$/

/**
 * Decodes what a stranger sent, strictly (BEP 3), and before any library does: the usual decoder runs out of
 * memory on a length below zero (`l-3:e`) and takes `__proto__` for a key like others. Keys are ASCII. Never throws.
 * @returns undefined for whatever is not one whole bencoded value
 */
export function decodeBencode(
  bytes: Uint8Array,
  limits: BencodeLimits = DEFAULT_LIMITS,
): BencodeValue | undefined {
  const head = decodeBencodeHead(bytes, limits)
  return head?.end === bytes.length ? head.value : undefined
}

/** Decodes the value that `bytes` begin with, and tells where it ends. Never throws. */
export function decodeBencodeHead(
  bytes: Uint8Array,
  limits: BencodeLimits = DEFAULT_LIMITS,
): { value: BencodeValue; end: number } | undefined {
  try {
    const reader = new Reader(bytes, limits)
    const value = reader.next(0)
    return { value, end: reader.position }
  } catch {
    return undefined
  }
}

/** A dictionary, or undefined for anything else. */
export function asDictionary(
  value: BencodeValue | undefined,
): ReadonlyMap<string, BencodeValue> | undefined {
  return value instanceof Map ? value : undefined
}

class Reader {
  readonly #bytes: Buffer
  readonly #limits: BencodeLimits
  #position = 0
  #valueCount = 0

  constructor(bytes: Uint8Array, limits: BencodeLimits) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#limits = limits
  }

  get position(): number {
    return this.#position
  }

  next(depth: number): BencodeValue {
    this.#valueCount += 1
    if (depth > this.#limits.depth || this.#valueCount > this.#limits.values)
      throw new RangeError('too much')
    switch (this.#bytes[this.#position]) {
      case INTEGER:
        return this.#integer()
      case LIST:
        return this.#list(depth)
      case DICTIONARY:
        return this.#dictionary(depth)
      default:
        return this.#byteString()
    }
  }

  #integer(): number {
    this.#position += 1
    const value = Number(this.#textUntil(END, WHOLE_NUMBER))
    if (!Number.isSafeInteger(value)) throw new RangeError('not a safe integer')
    return value
  }

  #list(depth: number): BencodeValue[] {
    const values: BencodeValue[] = []
    this.#position += 1
    while (!this.#takeEnd()) values.push(this.next(depth + 1))
    return values
  }

  #dictionary(depth: number): Map<string, BencodeValue> {
    const fields = new Map<string, BencodeValue>()
    this.#position += 1
    while (!this.#takeEnd()) {
      const key = this.#key()
      if (fields.has(key)) throw new RangeError('a key twice')
      fields.set(key, this.next(depth + 1))
    }
    return fields
  }

  #key(): string {
    const key = this.#byteString()
    if (key.length > MAX_KEY_BYTES) throw new RangeError('a long key')
    const text = key.toString('latin1')
    // Other decoders read UTF-8, swallow a byte order mark, and so find another key than the one that was checked.
    if (!PRINTABLE.test(text) || text === '__proto__') throw new RangeError('a key that is none')
    return text
  }

  #byteString(): Buffer {
    const start = this.#position
    const length = Number(this.#textUntil(COLON, LENGTH))
    const end = this.#position + length
    if (end > this.#bytes.length) throw new RangeError(`cut off after ${start}`)
    const value = this.#bytes.subarray(this.#position, end)
    this.#position = end
    return value
  }

  #textUntil(delimiter: number, pattern: RegExp): string {
    const end = this.#bytes.indexOf(delimiter, this.#position)
    // Looked for no further than the longest number there may be.
    if (end < 0 || end - this.#position > 17) throw new RangeError('no delimiter')
    const text = this.#bytes.toString('latin1', this.#position, end)
    if (!pattern.test(text)) throw new RangeError('not a number')
    this.#position = end + 1
    return text
  }

  #takeEnd(): boolean {
    if (this.#bytes[this.#position] !== END) return false
    this.#position += 1
    return true
  }
}
