import { createHash } from 'node:crypto'

import { BLOCK_BYTES } from './piece-length.ts'

interface Attempt<Peer> {
  readonly index: number
  /** SHA-256 of each block, and who sent it */
  readonly blocks: readonly { readonly hash: Buffer; readonly sender: Peer | undefined }[]
}

// Beyond that the oldest go unpunished: 64 pieces of 4 MiB leave half a MiB of hashes.
const MAX_ATTEMPTS = 64

/**
 * Who is to blame for pieces that failed their hash. One sender is the culprit. Of several nobody is blamed before the
 * piece is there as it should be: then those whose blocks were other ones, and nobody else.
 */
export class BadPieces<Peer> {
  readonly #attempts: Attempt<Peer>[] = []
  readonly #failed = new Set<number>()

  /** Whether a piece has failed before: one peer alone is to send it. */
  hasFailed(index: number): boolean {
    return this.#failed.has(index)
  }

  /** @returns the culprit, where it can be nobody else */
  onBad(index: number, bytes: Buffer, senders: readonly (Peer | undefined)[]): Peer | undefined {
    this.#failed.add(index)
    const [first, ...others] = new Set(senders)
    if (others.length === 0) return first
    const blocks = senders.map((sender, block) => ({ hash: hashOf(bytes, block), sender }))
    this.#attempts.push({ index, blocks })
    if (this.#attempts.length > MAX_ATTEMPTS) this.#attempts.shift()
    return undefined
  }

  /** With the right bytes of a piece: who sent others before. */
  onGood(index: number, bytes: Buffer): Set<Peer> {
    const culprits = new Set<Peer>()
    if (!this.#failed.has(index)) return culprits
    for (let at = this.#attempts.length - 1; at >= 0; at -= 1) {
      const known = this.#attempts[at]
      if (known?.index !== index) continue
      this.#attempts.splice(at, 1)
      for (const [block, { hash, sender }] of known.blocks.entries())
        if (sender !== undefined && !hash.equals(hashOf(bytes, block))) culprits.add(sender)
    }
    return culprits
  }
}

function hashOf(bytes: Buffer, block: number): Buffer {
  const start = block * BLOCK_BYTES
  return createHash('sha256')
    .update(bytes.subarray(start, start + BLOCK_BYTES))
    .digest()
}
