/** What must not be seen by who is no member, in all the forms in which it could be on a wire. */
import { hexOf, type Digest } from '../oci/digest.ts'

/** Something to look for. */
export interface Secret {
  /** what was seen if this is found: `digest of the layer, hex` */
  readonly what: string
  readonly bytes: Buffer
}

// Any plaintext run of twice this length minus one holds a whole block.
const BLOCK_BYTES = 16
const FILTER_BITS = 23

/** A text as it is. */
export function textSecret(what: string, text: string): Secret {
  return { what, bytes: Buffer.from(text) }
}

/** A digest: hex in both cases, raw, and base64 in both alphabets. */
export function digestSecrets(what: string, digest: Digest): Secret[] {
  const raw = Buffer.from(hexOf(digest), 'hex')
  return [
    ...hashSecrets(what, raw),
    // without the padding and what belongs to it, so that it is found inside of others too
    textSecret(`${what}, base64`, raw.toString('base64').slice(0, -2)),
    textSecret(`${what}, base64url`, raw.toString('base64url').slice(0, -1)),
  ]
}

/** An infohash, an id or an address: hex in both cases, and raw. */
export function hashSecrets(what: string, raw: Buffer): Secret[] {
  const hex = raw.toString('hex')
  return [
    textSecret(`${what}, hex`, hex),
    textSecret(`${what}, HEX`, hex.toUpperCase()),
    { what: `${what}, raw`, bytes: raw },
  ]
}

/** What was found of the secrets, by their names, in order and each once. */
export function secretsIn(contents: Iterable<Buffer>, secrets: readonly Secret[]): string[] {
  const left = new Set(secrets)
  for (const content of contents) {
    for (const secret of left) if (content.includes(secret.bytes)) left.delete(secret)
  }
  return secrets.filter((secret) => !left.has(secret)).map(({ what }) => what)
}

/** A content to look for, and what it is called where it is found. */
export interface Plaintext {
  readonly role: string
  readonly bytes: Buffer
}

type Block = Plaintext

/**
 * Finds any of the blocks of 16 bytes of these contents at any place: a run of 31 bytes of them cannot hide. The
 * contents must be of their own: zeros are everywhere.
 */
export class PlaintextFinder {
  readonly #blocksByWord = new Map<number, Block[]>()
  // A bit for what the first word of a block may be, so that few places need a look at the map.
  readonly #filter = new Uint32Array(2 ** (FILTER_BITS - 5))

  constructor(contents: readonly Plaintext[]) {
    for (const { role, bytes } of contents) {
      for (let at = 0; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
        this.#add({ role, bytes: bytes.subarray(at, at + BLOCK_BYTES) })
      }
    }
  }

  /** How many places hold a block, by what it is of; what is not found is not in it. */
  countIn(contents: Iterable<Buffer>): Record<string, number> {
    const counts: Record<string, number> = {}
    for (const content of contents) {
      for (const role of this.#rolesIn(content)) counts[role] = (counts[role] ?? 0) + 1
    }
    return counts
  }

  #add(block: Block): void {
    const word = block.bytes.readInt32LE()
    const blocks = this.#blocksByWord.get(word)
    if (blocks) blocks.push(block)
    else this.#blocksByWord.set(word, [block])
    const bit = filterBit(word)
    this.#filter[bit >>> 5] = (this.#filter[bit >>> 5] ?? 0) | (1 << (bit & 31))
  }

  *#rolesIn(content: Buffer): Generator<string> {
    let word = 0
    for (let end = 0; end < content.length; end += 1) {
      word = (word >>> 8) | ((content[end] ?? 0) << 24)
      const bit = filterBit(word)
      if ((((this.#filter[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) === 0) continue
      const role = this.#roleAt(content, end - 3, word)
      if (role !== undefined) yield role
    }
  }

  #roleAt(content: Buffer, at: number, word: number): string | undefined {
    if (at < 0) return undefined
    const isHere = ({ bytes }: Block): boolean =>
      content.compare(bytes, 0, BLOCK_BYTES, at, at + BLOCK_BYTES) === 0
    return at + BLOCK_BYTES <= content.length
      ? this.#blocksByWord.get(word)?.find(isHere)?.role
      : undefined
  }
}

function filterBit(word: number): number {
  return Math.imul(word, 0x9e3779b1) >>> (32 - FILTER_BITS)
}
