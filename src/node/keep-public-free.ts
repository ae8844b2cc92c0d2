import { isOperationError, messageOf } from '../errors.ts'
import { parseReference } from '../oci/reference.ts'
import { PublicationCheck } from '../publication/publication-check.ts'
import type { Publication } from '../publication/publications.ts'
import type { Log } from '../telemetry/log.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Publishing } from './publishing.ts'

interface KeepPublicFreeOptions {
  readonly publishing: Pick<Publishing, 'all' | 'confirm' | 'unpublish'>
  readonly access: Pick<ContentAccess, 'isPrivate'>
  /** undefined where registries are not asked: then nothing is looked at */
  readonly upstream: Pick<Upstream, 'has'> | undefined
  readonly log: Log
}

const DAY_MS = 24 * 3600e3
const INTERVAL_MS = 3600e3

/**
 * Asks registries once a day, without a login, whether they still give to everybody what is published without the word
 * of its owner. What they do not is withdrawn; where they do not answer, it stays until they do.
 */
export function keepPublicFree(options: KeepPublicFreeOptions): AsyncDisposable {
  const stop = new AbortController()
  let running = lookAtAll(options, stop.signal)
  const timer = setInterval(() => {
    running = running.then(() => lookAtAll(options, stop.signal))
  }, INTERVAL_MS).unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      stop.abort()
      await running
    },
  }
}

async function lookAtAll(options: KeepPublicFreeOptions, signal: AbortSignal): Promise<void> {
  for (const publication of options.publishing.all()) {
    if (signal.aborted) return
    if (publication.isOwn || !isDue(publication)) continue
    try {
      await lookAt(publication, options, signal)
    } catch (error) {
      const fields = { digest: publication.digest, error: messageOf(error) }
      if (!signal.aborted) options.log.warn(fields, 'a published image is not looked at')
    }
  }
}

/** A clock that went back does not make it later. */
function isDue({ checkedAtMs }: Publication): boolean {
  return Math.abs(Date.now() - checkedAtMs) > DAY_MS
}

async function lookAt(
  { digest, source, images, blobs }: Publication,
  { publishing, access, upstream, log }: KeepPublicFreeOptions,
  signal: AbortSignal,
): Promise<void> {
  if (!upstream || source === undefined) return
  const reference = parseReference(`${source}@${digest}`)
  const parts = { images, blobs: blobs.map((blob) => ({ digest: blob })) }
  try {
    await new PublicationCheck({ access, upstream }).assertFree(reference, parts, { signal })
    await publishing.confirm(digest)
  } catch (error) {
    if (!isOperationError(error, 'PUBLICATION_REFUSED')) throw error
    log.warn({ digest, error: messageOf(error) }, 'no longer published: not everybody may have it')
    await publishing.unpublish(digest)
  }
}
