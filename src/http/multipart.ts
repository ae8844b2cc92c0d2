import { randomBytes } from 'node:crypto'

import { formatContentRange, lengthOf, type ByteRange } from './range.ts'

/** A `multipart/byteranges` body before its bytes are there (RFC 9110, Multiple Parts). */
export interface MultipartLayout {
  readonly contentType: string
  /** of the whole body, bytes */
  readonly contentLength: number
  /** what stands before the bytes of each range */
  readonly parts: readonly { readonly head: Buffer; readonly range: ByteRange }[]
  readonly tail: Buffer
}

/**
 * Lays out the parts in the order asked.
 * @param size of the whole representation, bytes
 */
export function layOutMultipart(ranges: readonly ByteRange[], size: number): MultipartLayout {
  const boundary = randomBytes(18).toString('hex')
  const parts = ranges.map((range, index) => ({
    range,
    head: Buffer.from(
      `${index === 0 ? '' : '\r\n'}--${boundary}\r\n` +
        'Content-Type: application/octet-stream\r\n' +
        `Content-Range: ${formatContentRange(range, size)}\r\n\r\n`,
    ),
  }))
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
  return {
    contentType: `multipart/byteranges; boundary=${boundary}`,
    contentLength: parts.reduce(
      (sum, { head, range }) => sum + head.length + lengthOf(range),
      tail.length,
    ),
    parts,
    tail,
  }
}
