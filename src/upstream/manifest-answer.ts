import { isOperationError } from '../errors.ts'
import { digestOf, isDigest, type Digest } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES, parseManifest } from '../oci/manifest.ts'
import { isManifestType, MEDIA_TYPES } from '../oci/media-types.ts'
import { faulty } from './failures.ts'
import type { HttpAnswer } from './http-answer.ts'

/** What a client that knows all kinds of manifests asks for. */
export const MANIFEST_ACCEPT = [
  MEDIA_TYPES.ociIndex,
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.dockerManifestList,
  MEDIA_TYPES.dockerManifest,
].join(', ')

/** Types that a server gives to files of which it knows nothing. */
const SILENT_TYPES: ReadonlySet<string | undefined> = new Set([
  undefined,
  '',
  'application/json',
  MEDIA_TYPES.octetStream,
])

/** Bytes that came as a manifest and are one. */
export interface CheckedManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
}

/**
 * Reads a manifest and checks it against what was asked for, and against itself.
 * @throws OperationError UPSTREAM_FAULTY, UPSTREAM_UNREACHABLE
 */
export async function readManifest(answer: HttpAnswer, wanted?: Digest): Promise<CheckedManifest> {
  checkIdentityEncoding(answer)
  const bytes = await answer.bytes(MAX_MANIFEST_BYTES)
  const digest = digestOf(bytes)
  if (wanted !== undefined && digest !== wanted) {
    throw faulty(answer.url, `wanted manifest ${wanted}, found ${digest}`, {
      wanted,
      found: digest,
    })
  }
  checkDigestHeader(answer, digest)
  return { digest, mediaType: checkMediaType(answer, bytes), bytes }
}

/** What the answer to a HEAD says about a manifest; undefined if it does not say all. */
export function readManifestHead(
  answer: HttpAnswer,
): { digest: Digest; mediaType: string; size: number } | undefined {
  checkIdentityEncoding(answer)
  const digest = answer.header('docker-content-digest')
  const mediaType = mediaTypeOf(answer) ?? ''
  const size = answer.contentLength ?? 0
  if (!isDigest(digest) || !isManifestType(mediaType) || size === 0) return undefined
  if (size > MAX_MANIFEST_BYTES) {
    throw faulty(
      answer.url,
      `wanted a manifest of at most ${MAX_MANIFEST_BYTES} bytes, found ${size}`,
    )
  }
  return { digest, mediaType, size }
}

/** @throws OperationError UPSTREAM_FAULTY: the body was encoded, and nobody asked for that */
export function checkIdentityEncoding(answer: HttpAnswer): void {
  const encoding = answer.header('content-encoding')?.trim().toLowerCase()
  if (encoding === undefined || encoding === '' || encoding === 'identity') return
  answer.leave()
  throw faulty(answer.url, `wanted no Content-Encoding, found "${encoding.slice(0, 40)}"`)
}

/** @throws OperationError UPSTREAM_FAULTY: the header names another digest; one by another algorithm says nothing */
export function checkDigestHeader(answer: HttpAnswer, wanted: Digest | undefined): void {
  const stated = answer.header('docker-content-digest')
  if (wanted === undefined || !isDigest(stated) || stated === wanted) return
  answer.leave()
  throw faulty(answer.url, `wanted ${wanted}, and its header says ${stated}`, {
    wanted,
    found: stated,
  })
}

/** GHSA-77vh-xpmg-72qh: the type that the header states is the one that the body has. */
function checkMediaType(answer: HttpAnswer, bytes: Buffer): string {
  const found = mediaTypeIn(answer, bytes)
  const stated = mediaTypeOf(answer)
  if (SILENT_TYPES.has(stated) || stated === found) return found
  throw faulty(answer.url, `its manifest is ${found}, and its header says ${stated?.slice(0, 100)}`)
}

function mediaTypeIn(answer: HttpAnswer, bytes: Buffer): string {
  try {
    return parseManifest(bytes).mediaType
  } catch (thrown) {
    if (!isOperationError(thrown, 'MANIFEST_INVALID')) throw thrown
    throw faulty(answer.url, `it sent no manifest: ${thrown.message}`)
  }
}

/** Without parameters. */
function mediaTypeOf(answer: HttpAnswer): string | undefined {
  return answer.header('content-type')?.split(';')[0]?.trim().toLowerCase()
}
