import { createHash, type Hash } from 'node:crypto'

import { OperationError } from '../errors.ts'

declare const digestBrand: unique symbol

/** `sha256:<64 lower-case hex digits>` (image-spec, descriptor.md, Digests). Only {@link parseDigest} makes one. */
export type Digest = string & { readonly [digestBrand]: true }

const PATTERN = /^sha256:[0-9a-f]{64}$/

/** Whether `text` is a digest that ddocker can verify. */
export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && PATTERN.test(text)
}

/** @throws OperationError DIGEST_INVALID */
export function parseDigest(text: unknown): Digest {
  if (isDigest(text)) return text
  throw new OperationError(
    'DIGEST_INVALID',
    `wanted sha256:<64 hex digits>, found "${String(text).slice(0, 100)}"`,
  )
}

/** The 64 hex digits behind the algorithm. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

/** The 32 bytes behind the algorithm. */
export function bytesOf(digest: Digest): Buffer {
  return Buffer.from(hexOf(digest), 'hex')
}

/** @param bytes a SHA-256, 32 bytes */
export function digestFromBytes(bytes: Uint8Array): Digest {
  return parseDigest(`sha256:${Buffer.from(bytes).toString('hex')}`)
}

/** The digest of bytes that are at hand. */
export function digestOf(content: string | Uint8Array): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(content).digest('hex')}`)
}

/** Takes bytes in order and tells their digest at the end. */
export class Digester {
  readonly #hash: Hash = createHash('sha256')
  bytes = 0

  update(chunk: Uint8Array): void {
    this.bytes += chunk.length
    this.#hash.update(chunk)
  }

  digest(): Digest {
    return parseDigest(`sha256:${this.#hash.digest('hex')}`)
  }
}
