import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { deadline } from '../support/deadline.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import type { Upstream } from '../upstream/upstream.ts'

interface PublicationCheckOptions {
  readonly access: Pick<ContentAccess, 'isPrivate'>
  /** undefined where registries are not asked */
  readonly upstream?: Pick<Upstream, 'has'> | undefined
}

/** The manifests of an image, and the blobs below them. */
interface CheckedParts {
  readonly images: readonly { readonly digest: Digest }[]
  readonly blobs: readonly { readonly digest: Digest }[]
}

const ASKED_AT_ONCE = 4
const CHECK_MS = 60_000

/** Says whether an image may go to strangers without anybody answering for it. */
export class PublicationCheck {
  readonly #options: PublicationCheckOptions

  constructor(options: PublicationCheckOptions) {
    this.#options = options
  }

  /**
   * Nothing of it needed a credential, and anybody can have all of it from its registry, at this moment: one HEAD for
   * each manifest and blob, without a login, four at once, for a minute at most.
   * @throws OperationError PUBLICATION_REFUSED, PUBLICATION_UNPROVEN; the reason of `signal`
   */
  async assertFree(
    reference: Reference,
    parts: CheckedParts,
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    await this.assertNotPrivate(reference, parts)
    const contents = [
      ...parts.images.map(({ digest }) => ({ kind: 'manifest' as const, digest })),
      ...parts.blobs.map(({ digest }) => ({ kind: 'blob' as const, digest })),
    ]
    const { upstream } = this.#options
    if (reference.scope !== 'upstream')
      throw refused(reference, 'it has no registry that gives it to everybody')
    if (!upstream) throw unproven(reference, 'no registry is asked (--upstream off)')
    const limited = deadline(CHECK_MS, signal)
    await mapConcurrently(contents, ASKED_AT_ONCE, async (content) => {
      try {
        await askAnonymously(reference, content, { upstream, signal: limited })
      } catch (error) {
        signal.throwIfAborted()
        throw error
      }
    })
  }

  /** Nothing of it is known to need a credential. @throws OperationError PUBLICATION_REFUSED */
  async assertNotPrivate(reference: Reference, { images, blobs }: CheckedParts): Promise<void> {
    for (const { digest } of [...images, ...blobs]) {
      if (await this.#options.access.isPrivate(digest))
        throw refused(reference, `a registry gave ${digest} for a login only`)
    }
  }
}

async function askAnonymously(
  reference: Reference,
  content: { readonly kind: 'manifest' | 'blob'; readonly digest: Digest },
  { upstream, signal }: { upstream: Pick<Upstream, 'has'>; signal: AbortSignal },
): Promise<void> {
  const identity = { kind: 'anonymous' } as const
  let access: Awaited<ReturnType<Upstream['has']>>
  try {
    access = await upstream.has(reference, content, { identity, signal })
  } catch (error) {
    if (isOperationError(error, 'UPSTREAM_DENIED'))
      throw refused(reference, `${reference.registry} wants a login for ${content.digest}`, error)
    throw unproven(reference, `${reference.registry} does not say: ${messageOf(error)}`, error)
  }
  if (access === 'public') return
  throw refused(reference, `${reference.registry} gives nobody ${content.digest} without a login`)
}

function refused(reference: Reference, why: string, cause?: unknown): OperationError {
  return failure('PUBLICATION_REFUSED', reference, why, cause)
}

function unproven(reference: Reference, why: string, cause?: unknown): OperationError {
  return failure('PUBLICATION_UNPROVEN', reference, why, cause)
}

function failure(
  code: 'PUBLICATION_REFUSED' | 'PUBLICATION_UNPROVEN',
  reference: Reference,
  why: string,
  cause: unknown,
): OperationError {
  const message = `image "${formatReference(reference)}": wanted one that anybody may have, but ${why}`
  return new OperationError(code, message, cause === undefined ? {} : { cause })
}
