import { isDigest, type Digest } from '../oci/digest.ts'
import { isSha512Digest } from '../oci/sha512-digest.ts'
import type { Door } from './door.ts'
import { RegistryRefusal } from './error-responses.ts'
import type { ContentDigest } from './registry-content.ts'
import { decodeReference, readDigest, shown } from './request-name.ts'
import type { RegistryErrorCode } from '../oci/registry-error.ts'

// image-spec, descriptor.md, Digests: the registered algorithms have a fixed form
const OTHER_ALGORITHM = /^(?!sha256:|sha512:)[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/

/**
 * The digest that a client pushes by, or deletes.
 * @throws RegistryRefusal DIGEST_INVALID; UNSUPPORTED (400) for an algorithm that is not taken
 */
export function readContentDigest(text: unknown): ContentDigest {
  const digest = typeof text === 'string' ? decodeReference(text) : undefined
  if (isDigest(digest) || isSha512Digest(digest)) return digest
  if (digest !== undefined && OTHER_ALGORITHM.test(digest)) {
    const reason = 'only sha256 and sha512 digests are taken'
    throw new RegistryRefusal('UNSUPPORTED', { digest: shown(digest), reason }, 400)
  }
  const reason = 'wanted sha256: and 64, or sha512: and 128 lower-case hex digits'
  throw new RegistryRefusal('DIGEST_INVALID', { digest: shown(digest ?? ''), reason })
}

/** The digest of a manifest that others may refer to; it need not be here. @throws RegistryRefusal DIGEST_INVALID */
export function readReferredDigest(door: Door, text: string): ContentDigest {
  const digest = decodeReference(text)
  return isSha512Digest(digest) && door.backend.content
    ? digest
    : readDigest(digest, 'MANIFEST_UNKNOWN')
}

/**
 * The digest of a path that is read, and the one that the store knows it by.
 * @throws RegistryRefusal DIGEST_INVALID; `unknownCode` where nothing can be known by it
 */
export async function resolveDigest(
  door: Door,
  text: string,
  unknownCode: RegistryErrorCode,
): Promise<{ asked: string; digest: Digest }> {
  const asked = decodeReference(text)
  const { content } = door.backend
  if (!content || !isSha512Digest(asked)) {
    const digest = readDigest(asked, unknownCode)
    return { asked: digest, digest }
  }
  const digest = await content.digestOf(asked)
  if (!digest) throw new RegistryRefusal(unknownCode, { digest: asked })
  return { asked, digest }
}
