import { join } from 'node:path'

import { hexOf, isDigest, type Digest } from '../oci/digest.ts'

/**
 * Where blobs lie. A path is made only from a parsed digest, never from what a stranger wrote.
 *
 *   <data dir>/
 *     blobs/sha256/<2 hex>/<64 hex>   complete and right; 0444; named after its bytes were made durable
 *     partial/<64 hex>                under download: sparse, as long as the blob will be
 *     partial/<64 hex>.bitfield       which pieces of it are here, and which blob they are of
 *     tmp/<random>                    ingests under way; whatever lies here at open is left over
 */
export interface StorePaths {
  /** parent of the 256 folders of complete blobs */
  readonly blobs: string
  readonly partial: string
  readonly tmp: string
  /** the folder of a complete blob */
  folderOf(digest: Digest): string
  blobOf(digest: Digest): string
  partialOf(digest: Digest): string
  bitfieldOf(digest: Digest): string
}

const BITFIELD_SUFFIX = '.bitfield'

/** The tree below `dataDir`. */
export function storePaths(dataDir: string): StorePaths {
  const blobs = join(dataDir, 'blobs', 'sha256')
  const partial = join(dataDir, 'partial')
  const folderOf = (digest: Digest) => join(blobs, hexOf(digest).slice(0, 2))
  const partialOf = (digest: Digest) => join(partial, hexOf(digest))
  return {
    blobs,
    partial,
    tmp: join(dataDir, 'tmp'),
    folderOf,
    blobOf: (digest) => join(folderOf(digest), hexOf(digest)),
    partialOf,
    bitfieldOf: (digest) => `${partialOf(digest)}${BITFIELD_SUFFIX}`,
  }
}

/** The digest that a file name in `blobs/` or `partial/` stands for. */
export function digestOfFileName(name: string): Digest | undefined {
  const digest = `sha256:${name}`
  return isDigest(digest) ? digest : undefined
}

/** The digest whose bitfield a file name in `partial/` stands for. */
export function digestOfBitfieldName(name: string): Digest | undefined {
  return name.endsWith(BITFIELD_SUFFIX)
    ? digestOfFileName(name.slice(0, -BITFIELD_SUFFIX.length))
    : undefined
}
