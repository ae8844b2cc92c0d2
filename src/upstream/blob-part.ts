import type { Digest } from '../oci/digest.ts'
import { faulty } from './failures.ts'
import type { HttpAnswer } from './http-answer.ts'
import { checkDigestHeader, checkIdentityEncoding } from './manifest-answer.ts'

/** The blob, from a byte to its end. */
export interface BlobWish {
  readonly digest: Digest
  /** as a manifest says it, or an earlier answer */
  readonly size: number | undefined
  readonly start: number
}

/** An answer that brings the end of a blob. */
export interface BlobPart {
  readonly answer: HttpAnswer
  /** of the whole blob; undefined where the answer does not tell */
  readonly size: number | undefined
  /** bytes of the body that come before what was asked for */
  readonly skip: number
}

/** @throws OperationError UPSTREAM_FAULTY: the answer is not what was asked for; its connection is closed */
export function checkBlobPart(answer: HttpAnswer, wish: BlobWish): BlobPart {
  try {
    checkIdentityEncoding(answer)
    checkDigestHeader(answer, wish.digest)
    return answer.status === 206 ? partial(answer, wish) : whole(answer, wish)
  } catch (thrown) {
    answer.leave()
    throw thrown
  }
}

function whole(answer: HttpAnswer, { digest, size, start }: BlobWish): BlobPart {
  if (answer.status !== 200) {
    throw faulty(answer.url, `wanted blob ${digest}, and it answered ${answer.status}`)
  }
  const length = answer.contentLength
  if (length !== undefined && size !== undefined && length !== size) {
    throw faulty(answer.url, `wanted ${size} bytes of blob ${digest}, found ${length}`, {
      wanted: size,
      found: length,
    })
  }
  return { answer, size: size ?? length, skip: start }
}

/** RFC 9110, 14.4. */
function partial(answer: HttpAnswer, { digest, size, start }: BlobWish): BlobPart {
  const text = answer.header('content-range') ?? 'no Content-Range'
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text)
  const [from, to, total] = (match ?? []).slice(1).map(Number)
  const isExact = total !== undefined && from === start && to === total - 1
  if (start === 0 || !isExact || (size !== undefined && total !== size)) {
    const wanted = `bytes ${start}-${size === undefined ? '' : size - 1}/${size ?? 'its size'}`
    const found = match ? text : 'another header'
    throw faulty(answer.url, `wanted ${wanted} of blob ${digest}, found ${found} with 206`)
  }
  const length = answer.contentLength
  if (length !== undefined && length !== total - start) {
    throw faulty(answer.url, `its Content-Range is ${text}, and its Content-Length ${length}`)
  }
  return { answer, size: total, skip: 0 }
}
