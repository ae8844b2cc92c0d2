import { createHash } from 'node:crypto'

declare const sha512Brand: unique symbol

/**
 * `sha512:<128 lower-case hex digits>` (image-spec, descriptor.md, Registered Algorithms). Clients may push and pull
 * by one; the store and the swarm know content by its SHA-256 alone.
 */
export type Sha512Digest = string & { readonly [sha512Brand]: true }

const PATTERN = /^sha512:[0-9a-f]{128}$/

export function isSha512Digest(text: unknown): text is Sha512Digest {
  return typeof text === 'string' && PATTERN.test(text)
}

/** The SHA-512 of content that is in memory. */
export function sha512DigestOf(content: string | Uint8Array): Sha512Digest {
  return `sha512:${createHash('sha512').update(content).digest('hex')}` as Sha512Digest
}
