import type { OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { pause } from '../support/pause.ts'
import type { TokenBucket } from '../support/token-bucket.ts'
import type { BlobPart } from './blob-part.ts'
import { faulty, isUnreachable, unreachable } from './failures.ts'

interface BlobContentOptions {
  readonly digest: Digest
  /** of the whole blob */
  readonly size: number
  readonly start: number
  readonly first: BlobPart
  /** asks for the rest of the blob, from a byte on */
  readonly reopen: (start: number) => Promise<BlobPart>
  /** the pause before the try number `tries + 1` */
  readonly pauseAfter: (tries: number, signal: AbortSignal) => Promise<void>
  readonly bucket: TokenBucket | undefined
  readonly signal: AbortSignal
}

const MAX_RESUMES = 5
// Resumes are counted anew after so many bytes: a long blob may break often, a byte at a time is no progress.
const PROGRESS_BYTES = 1024 * 1024

/**
 * The bytes of a blob from `start` to its end, whole: a body that breaks is resumed where it broke.
 * @throws OperationError UPSTREAM_UNREACHABLE: five resumes did not help; UPSTREAM_FAULTY: more bytes than the size
 */
export async function* readBlob(options: BlobContentOptions): AsyncGenerator<Buffer, void, void> {
  const { size, first, signal } = options
  let part = first
  let position = options.start
  let resumes = 0
  let gained = 0
  for (;;) {
    let failure: OperationError
    try {
      for await (const chunk of bytesOf(part)) {
        if (position + chunk.length > size) throw surplus(part, options)
        await throttle(chunk.length, options)
        position += chunk.length
        gained += chunk.length
        yield chunk
      }
      if (position === size) return
      failure = brokenOff(part, position, options)
    } catch (thrown) {
      signal.throwIfAborted()
      if (!mayPass(thrown)) throw thrown
      // all is there, only the end of the message was lost
      if (position === size) return
      failure = thrown
    }
    if (gained >= PROGRESS_BYTES) resumes = 0
    gained = 0
    const resumed = await resume(position, resumes, failure, options)
    part = resumed.part
    resumes = resumed.resumes
  }
}

async function* bytesOf({ answer, skip }: BlobPart): AsyncGenerator<Buffer, void, void> {
  let left = skip
  for await (const chunk of answer.chunks()) {
    if (left >= chunk.length) {
      left -= chunk.length
      continue
    }
    yield left === 0 ? chunk : chunk.subarray(left)
    left = 0
  }
}

async function resume(
  position: number,
  resumes: number,
  failure: OperationError,
  { reopen, pauseAfter, signal }: BlobContentOptions,
): Promise<{ part: BlobPart; resumes: number }> {
  let last = failure
  for (let tries = resumes + 1; tries <= MAX_RESUMES; tries += 1) {
    await pauseAfter(tries, signal)
    try {
      return { part: await reopen(position), resumes: tries }
    } catch (thrown) {
      signal.throwIfAborted()
      if (!mayPass(thrown)) throw thrown
      last = thrown
    }
  }
  throw last
}

function mayPass(thrown: unknown): thrown is OperationError {
  return isUnreachable(thrown) && !isUnreachable(thrown, 'closed')
}

async function throttle(bytes: number, { bucket, signal }: BlobContentOptions): Promise<void> {
  if (!bucket) return
  for (let waitMs = bucket.take(bytes); waitMs > 0; waitMs = bucket.take(bytes)) {
    await pause(waitMs, signal)
    signal.throwIfAborted()
  }
}

function surplus({ answer }: BlobPart, { digest, size }: BlobContentOptions): OperationError {
  return faulty(answer.url, `wanted ${size} bytes of blob ${digest}, and it sends more`, {
    wanted: size,
  })
}

function brokenOff(
  { answer }: BlobPart,
  position: number,
  { digest, size }: BlobContentOptions,
): OperationError {
  const found = `wanted ${size} bytes of blob ${digest}, and it ended after ${position}`
  return unreachable(answer.url, 'body', found, { wanted: size, found: position })
}
