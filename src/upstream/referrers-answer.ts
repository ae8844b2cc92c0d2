import { isOperationError } from '../errors.ts'
import { parseManifest } from '../oci/manifest.ts'
import { faulty } from './failures.ts'
import type { HttpAnswer } from './http-answer.ts'

/**
 * Whether the registry filtered the list of referrers itself (distribution-spec, Listing Referrers).
 * @throws OperationError UPSTREAM_FAULTY: it sent no image index
 */
export function checkReferrers(answer: HttpAnswer, bytes: Buffer): boolean {
  if (!isIndex(bytes)) throw faulty(answer.url, 'its list of referrers is no image index')
  const filters = answer.header('oci-filters-applied') ?? ''
  return filters.split(',').some((filter) => filter.trim() === 'artifactType')
}

function isIndex(bytes: Buffer): boolean {
  try {
    return parseManifest(bytes).kind === 'index'
  } catch (thrown) {
    if (isOperationError(thrown, 'MANIFEST_INVALID')) return false
    throw thrown
  }
}
