import type { Digest } from '../oci/digest.ts'

/**
 * What lies where in the catalog. Parts are set apart by `!`, which stands in no digest and no canonical name,
 * and sorts below every character that does.
 *
 *   schema                                   version of this layout
 *   closed                                   what there was at the last orderly end; gone while open
 *   torrent!<digest>                         TorrentRecord
 *   infohash!<40 hex>                        digest
 *   image!<digest>                           ImageRecord
 *   blob!<digest>!<digest of the image>      size, media type and role of a blob below an image
 *   reference!<name>!<node id>               ReferenceMark: highest sequence ever seen, and the record unless removed
 *   pin!<digest>!<reason>                    nothing more
 *   transfer!<started, 16 digits>!<id>       TransferRecord, in the order of time
 *   repository!<repository>                  a repository that was pushed to
 *   held!<digest>!<repository>               content that was pushed to it
 *   tag!<repository>!<tag>                   digest that was pushed under it
 *   deleted!<repository>!<digest or tag>     when it was deleted there
 *   referrer!<subject>!<digest>              a manifest that refers to a subject
 *   alias!<digest of another algorithm>      digest
 */
export const SCHEMA_KEY = 'schema'
export const CLOSED_KEY = 'closed'
export const SCHEMA_VERSION = 1

/** All tables; images come before the blobs below them. */
export const TABLES = [
  'torrent',
  'infohash',
  'image',
  'blob',
  'reference',
  'pin',
  'transfer',
  'repository',
  'held',
  'tag',
  'deleted',
  'referrer',
  'alias',
] as const
export type Table = (typeof TABLES)[number]

/** Keys from `gte` up to, but without, `lt`. */
export interface KeyRange {
  readonly gte: string
  readonly lt: string
}

const SEPARATOR = '!'
const AFTER_SEPARATOR = '"'

/** The key of an entry. */
export function keyOf(table: Table, ...parts: readonly string[]): string {
  return [table, ...parts].join(SEPARATOR)
}

/** All keys of a table, or those that begin with `parts`. */
export function rangeOf(table: Table, ...parts: readonly string[]): KeyRange {
  const prefix = keyOf(table, ...parts)
  return { gte: prefix + SEPARATOR, lt: prefix + AFTER_SEPARATOR }
}

/** The parts of a key behind its table; the last one keeps whatever it holds. */
export function partsOf(key: string, count: number): string[] {
  const [, ...parts] = key.split(SEPARATOR)
  return [...parts.slice(0, count - 1), parts.slice(count - 1).join(SEPARATOR)]
}

/** The key of a transfer: newer ones sort behind older ones. */
export function transferKey(startedAtMs: number, id: string): string {
  return keyOf('transfer', String(Math.trunc(startedAtMs)).padStart(16, '0'), id)
}

/** The key of a blob below an image. */
export function blobKey(digest: Digest, image: Digest): string {
  return keyOf('blob', digest, image)
}
