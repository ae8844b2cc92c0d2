import { OperationError } from '../errors.ts'
import { isDigest, type Digest } from './digest.ts'
import type { Platform } from './platform.ts'

/** What content is, by digest and size in bytes (image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly platform?: Platform
  readonly annotations?: Readonly<Record<string, string>>
}

/** Type, digest and size: what is needed to fetch and verify. */
export type BlobDescriptor = Pick<Descriptor, 'digest' | 'size'> &
  Partial<Pick<Descriptor, 'mediaType'>>

/**
 * @param value a parsed JSON value from a stranger
 * @throws OperationError MANIFEST_INVALID
 */
export function parseDescriptor(value: unknown, what = 'descriptor'): Descriptor {
  const entry = asRecord(value)
  if (!entry) throw invalid(what, 'an object', value)
  const { mediaType, digest, size, platform, annotations } = entry
  if (!isDigest(digest)) throw invalid(`${what}.digest`, 'sha256:<64 hex digits>', digest)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`${what}.size`, 'a whole number of bytes', size)
  }
  if (mediaType !== undefined && typeof mediaType !== 'string') {
    throw invalid(`${what}.mediaType`, 'a media type', mediaType)
  }
  return {
    mediaType: mediaType ?? 'application/octet-stream',
    digest,
    size,
    ...parsePlatform(platform),
    ...parseAnnotations(annotations),
  }
}

function parsePlatform(value: unknown): { platform?: Platform } {
  const entry = asRecord(value)
  if (!entry || typeof entry['os'] !== 'string' || typeof entry['architecture'] !== 'string')
    return {}
  const { os, architecture, variant } = entry
  return { platform: { os, architecture, ...(typeof variant === 'string' && { variant }) } }
}

function parseAnnotations(value: unknown): { annotations?: Record<string, string> } {
  const entry = asRecord(value)
  if (!entry) return {}
  const texts = Object.entries(entry).filter(
    (pair): pair is [string, string] => typeof pair[1] === 'string',
  )
  return { annotations: Object.fromEntries(texts) }
}

/** A JSON object as a record, or undefined for anything else. */
export function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}

/** What was found in place of something, for a message: a few words, however large it is. */
export function foundText(value: unknown): string {
  // A stranger's lists nest deeper than JSON.stringify can follow.
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'a list' : 'an object'
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100)
}

function invalid(what: string, wanted: string, found: unknown): OperationError {
  return new OperationError(
    'MANIFEST_INVALID',
    `${what}: wanted ${wanted}, found ${foundText(found)}`,
  )
}
