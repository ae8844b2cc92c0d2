import type { Context } from 'koa'

import { isOperationError } from '../errors.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { isTag, parseDoorName } from '../oci/reference.ts'
import type { RegistryErrorCode } from '../oci/registry-error.ts'
import { RegistryRefusal } from './error-responses.ts'
import type { OwnHosts } from './own-hosts.ts'
import type { DoorName, RepositoryRequest } from './registry-backend.ts'

// image-spec, descriptor.md, Digests
const DIGEST_GRAMMAR = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/
const SHA256_PREFIX = 'sha256:'
const MAX_SHOWN_LENGTH = 300

/** Whether a client names an upstream by `ns`, which is not this node itself. */
export function isMirrored(ctx: Context, ownHosts: OwnHosts): boolean {
  const { ns } = ctx.query
  return typeof ns === 'string' && !ownHosts.has(ns, ctx.req.socket)
}

/** Which repository a request is about. @throws RegistryRefusal NAME_INVALID */
export function readRepository(ctx: Context, name: string, ownHosts: OwnHosts): RepositoryRequest {
  const read = readName(ctx, name, ownHosts)
  return { name: read, ...(isMirrored(ctx, ownHosts) && { isMirrored: true }) }
}

/**
 * What the name in a path means, with `ns` where there is one. An address of this node is no upstream: it is
 * taken off, or the node would ask itself.
 * @throws RegistryRefusal NAME_INVALID
 */
export function readName(ctx: Context, name: string, ownHosts: OwnHosts): DoorName {
  const { ns } = ctx.query
  if (Array.isArray(ns)) throw invalidName(name, 'ns is given more than once')
  try {
    let read = parseDoorName(name, ns)
    while (read.scope === 'upstream' && ownHosts.has(read.registry, ctx.req.socket)) {
      read = parseDoorName(read.repository)
    }
    return read
  } catch (error) {
    if (!isOperationError(error)) throw error
    throw invalidName(name, error.message)
  }
}

/** The tag of a path. @throws RegistryRefusal MANIFEST_UNKNOWN where it cannot name anything here */
export function readTag(text: string): string {
  const reference = decodeReference(text)
  if (isTag(reference)) return reference
  throw new RegistryRefusal('MANIFEST_UNKNOWN', { tag: shown(reference), reason: 'it is no tag' })
}

/**
 * The digest of a path. A well-formed one of another algorithm is merely not here.
 * @param unknownCode for those
 * @throws RegistryRefusal DIGEST_INVALID, `unknownCode`
 */
export function readDigest(text: string, unknownCode: RegistryErrorCode): Digest {
  const digest = decodeReference(text)
  if (isDigest(digest)) return digest
  if (DIGEST_GRAMMAR.test(digest) && !digest.startsWith(SHA256_PREFIX)) {
    const reason = 'only sha256 digests are served'
    throw new RegistryRefusal(unknownCode, { digest: shown(digest), reason })
  }
  const reason = 'wanted sha256: and 64 lower-case hex digits'
  throw new RegistryRefusal('DIGEST_INVALID', { digest: shown(digest), reason })
}

/** A name as it may stand in an answer. */
export function shown(text: string): string {
  return text.slice(0, MAX_SHOWN_LENGTH)
}

/** A tag or digest of a path; the colon of a digest may come escaped. */
export function decodeReference(text: string): string {
  return text.replaceAll(/%3a/gi, ':')
}

function invalidName(name: string, reason: string): RegistryRefusal {
  return new RegistryRefusal('NAME_INVALID', { name: shown(name), reason })
}
