import { OperationError } from '../errors.ts'
import { hexOf, isDigest, parseDigest, type Digest } from '../oci/digest.ts'

/** Longer names are refused: an image archive has none, and each is kept in memory. */
const MAX_PATH_LENGTH = 512
const BLOB_PATH = /^blobs\/sha256\/([0-9a-f]{64})$/
const NAMED_BY_DIGEST = /(?:^|[/:])([0-9a-f]{64})\.(?:tar|tgz)(?:\.[a-z]+)?$/

/**
 * A path inside an archive, without `.` and empty components; '' for the root.
 * @param from folder that a relative path starts from
 * @throws OperationError ARCHIVE_INVALID: absolute, above the root, too long
 */
export function normaliseArchivePath(path: string, from = ''): string {
  if (path.length > MAX_PATH_LENGTH || path.includes('\0')) {
    throw invalid(path, `wanted at most ${MAX_PATH_LENGTH} characters and no zero byte`)
  }
  if (path.startsWith('/')) throw invalid(path, 'wanted a path inside it, found an absolute one')
  const parts = from === '' ? [] : from.split('/')
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) throw invalid(path, 'it leaves the archive')
  }
  return parts.join('/')
}

/** As {@link normaliseArchivePath} for the name of an entry, in which `..` has no business at all. */
export function normaliseEntryName(name: string): string {
  if (name.split('/').includes('..')) throw invalid(name, 'it leaves the archive')
  return normaliseArchivePath(name)
}

/** The folder that a path lies in, '' for the root. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/** Where an image layout keeps a blob (image-spec, image-layout.md). */
export function blobPath(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`
}

/** The digest that a path of an image layout promises. */
export function promisedDigest(path: string): Digest | undefined {
  return digestFrom(BLOB_PATH.exec(path)?.[1])
}

/** The digest that a name suggests: some writers call layers `<hex>.tar`, by habit and not by contract. */
export function suggestedDigest(path: string): Digest | undefined {
  return promisedDigest(path) ?? digestFrom(NAMED_BY_DIGEST.exec(path)?.[1])
}

function digestFrom(hex: string | undefined): Digest | undefined {
  const text = `sha256:${hex ?? ''}`
  return isDigest(text) ? parseDigest(text) : undefined
}

function invalid(path: string, why: string): OperationError {
  return new OperationError('ARCHIVE_INVALID', `archive entry "${path.slice(0, 120)}": ${why}`)
}
