import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'

import { OperationError, messageOf, systemCodeOf } from '../errors.ts'

/** How bytes are compressed, told by their first bytes. */
export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz'

/** Bytes that {@link detectCompression} needs. */
export const MAGIC_BYTES = 6

const MAGICS: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b, 0x08]], // RFC 1952, 2.3.1
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]], // RFC 8878, 3.1.1
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
]

/** @param head the first bytes of the content, {@link MAGIC_BYTES} if there are so many */
export function detectCompression(head: Uint8Array): Compression {
  const found = MAGICS.find(([, magic]) => magic.every((byte, index) => head[index] === byte))
  return found?.[0] ?? 'none'
}

/**
 * The content as it was before gzip or zstd; anything else passes unchanged.
 * @throws OperationError ARCHIVE_INVALID: cut off or damaged, or compressed in another way
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const { head, whole } = await peek(source, MAGIC_BYTES)
  const compression = detectCompression(head)
  if (compression === 'none') yield* whole
  else yield* decode(whole, compression)
}

/** The first bytes of a stream, and the stream as if nothing had been read. */
export async function peek(
  source: AsyncIterable<Uint8Array>,
  length: number,
): Promise<{ head: Buffer; whole: AsyncGenerator<Uint8Array, void> }> {
  const iterator = source[Symbol.asyncIterator]()
  const chunks: Uint8Array[] = []
  let bytes = 0
  while (bytes < length) {
    const next = await iterator.next()
    if (next.done) break
    chunks.push(next.value)
    bytes += next.value.length
  }
  const head = Buffer.concat(chunks).subarray(0, length)
  return { head, whole: resume(chunks, iterator) }
}

async function* resume(
  chunks: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  try {
    yield* chunks
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      yield next.value
    }
  } finally {
    await iterator.return?.()
  }
}

async function* decode(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
): AsyncGenerator<Uint8Array, void> {
  const decoder = makeDecoder(compression)
  const feeding = pipeline(source, decoder)
  // The reader below meets the same failure; this keeps it from being reported twice.
  feeding.catch(() => undefined)
  try {
    for await (const chunk of decoder) yield chunk as Buffer
    await feeding
  } catch (error) {
    throw isDecoderError(error)
      ? new OperationError('ARCHIVE_INVALID', `${compression} content: ${messageOf(error)}`, {
          cause: error,
        })
      : error
  } finally {
    decoder.destroy()
  }
}

function makeDecoder(compression: Compression) {
  if (compression === 'gzip') return createGunzip()
  if (compression === 'zstd') return createZstdDecompress()
  throw new OperationError(
    'ARCHIVE_INVALID',
    `wanted a tar, plain or in gzip or zstd, found ${compression}`,
  )
}

function isDecoderError(error: unknown): boolean {
  return /^(Z_|ZSTD_|ERR_ZLIB)/.test(systemCodeOf(error) ?? '')
}
