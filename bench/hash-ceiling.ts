import { createHash, randomBytes } from 'node:crypto'

const BUFFER_BYTES = 16 * 1024 * 1024
const CHUNK_BYTES = 1024 * 1024

/**
 * Bytes per second that one core can hash with both SHA-1 and SHA-256, from memory: what making a torrent, and
 * taking one from strangers, costs at least.
 */
export function hashCeiling({ bytes = 256 * 1024 * 1024 }: { bytes?: number } = {}): number {
  const buffer = randomBytes(BUFFER_BYTES)
  const hashes = [createHash('sha1'), createHash('sha256')]
  const startedAtMs = performance.now()
  for (let done = 0; done < bytes; done += CHUNK_BYTES) {
    const start = done % BUFFER_BYTES
    for (const hash of hashes) hash.update(buffer.subarray(start, start + CHUNK_BYTES))
  }
  for (const hash of hashes) hash.digest()
  return (bytes * 1000) / (performance.now() - startedAtMs)
}
