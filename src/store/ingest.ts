import { open, type FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'

import { OperationError } from '../errors.ts'
import { Digester } from '../oci/digest.ts'
import { abortable } from '../support/deadline.ts'
import { BATCH_BYTES, BatchWriter, onDisk } from './batch-writer.ts'
import type { IngestedBlob, IngestOptions, StoredBlob } from './blob-store.ts'
import { PieceDigester } from './piece-digester.ts'

/** A blob that lies in its own file, proven and durable but without its name. */
export type ReceivedBlob = Omit<IngestedBlob, 'isNew'>

/**
 * Writes a blob to a new file and proves its digest on the way (image-spec, descriptor.md, Verification).
 * The file is complete, read-only and durable when this returns; when it throws, the caller removes it.
 * @param source chunks of any length; a chunk belongs to the store once it is handed over
 * @throws OperationError BLOB_DIGEST_MISMATCH, BLOB_SIZE_MISMATCH, DISK_FULL, DISK_READ_ONLY, DISK_FAULTY;
 * what the source throws, unchanged
 */
export async function receiveBlob(
  source: AsyncIterable<Uint8Array>,
  path: string,
  options: IngestOptions,
): Promise<ReceivedBlob> {
  await using file = await onDisk(open(path, 'wx', 0o600))
  const received = await receiveInto(file, source, options)
  checkWhole(received, options)
  await onDisk(file.chmod(0o444))
  // a failed fsync is final: the pages count as clean now, and a second one would say nothing
  await onDisk(file.sync())
  return received
}

async function receiveInto(
  file: FileHandle,
  source: AsyncIterable<Uint8Array>,
  options: IngestOptions,
): Promise<ReceivedBlob> {
  const { pieceLength, signal } = options
  const digester = new Digester()
  const pieces = pieceLength === undefined ? undefined : new PieceDigester(pieceLength)
  const writer = new BatchWriter(file)
  for await (const chunk of slicesOf(source, signal)) {
    checkSizeSoFar(digester.bytes + chunk.length, options)
    await writer.write(chunk)
    digester.update(chunk)
    pieces?.update(chunk)
  }
  await writer.end()
  const whole = { size: digester.bytes, digest: digester.digest() }
  return pieces ? { ...whole, pieceHashes: pieces.digest() } : whole
}

/** Tells a source that nothing more of it is wanted, without waiting for it. */
export function abandonSource(source: AsyncIterable<Uint8Array>): void {
  if (source instanceof Readable) {
    // its iterator would not destroy a stream that was not read yet, nor one whose next chunk does not come
    source.destroy()
    return
  }
  void returnOf(source[Symbol.asyncIterator]())
}

/** Chunks of at most one batch, so that no chunk holds the event loop for long. */
export async function* slicesOf(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of signal ? untilAborted(source, signal) : source) {
    for (let start = 0; start < chunk.length; start += BATCH_BYTES) {
      yield chunk.subarray(start, start + BATCH_BYTES)
    }
  }
}

/** The chunks of `source`; throws the reason of `signal` at once, even where the next chunk never comes. */
async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]()
  let isDone = false
  try {
    for (;;) {
      signal.throwIfAborted()
      const next = await abortable(iterator.next(), signal)
      isDone = next.done === true
      if (next.done === true) return
      yield next.value
    }
  } finally {
    if (!isDone) void returnOf(iterator)
    if (!isDone && source instanceof Readable) source.destroy()
  }
}

/** An iterator's own clean-up may wait for a chunk that never comes, and may fail: neither is ours. */
async function returnOf(iterator: AsyncIterator<Uint8Array>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // the source is given up
  }
}

/** @throws OperationError BLOB_SIZE_MISMATCH as soon as more came than may */
export function checkSizeSoFar(
  bytes: number,
  { size, maxBytes }: Pick<IngestOptions, 'size' | 'maxBytes'>,
): void {
  const limit = size ?? maxBytes
  if (limit === undefined || bytes <= limit) return
  throw wrongSize(`wanted ${size === undefined ? 'at most ' : ''}${limit} bytes, got more`, limit)
}

/** @throws OperationError BLOB_SIZE_MISMATCH, BLOB_DIGEST_MISMATCH */
export function checkWhole(
  found: StoredBlob,
  { size, digest }: Pick<IngestOptions, 'size' | 'digest'>,
): void {
  if (size !== undefined && found.size !== size) {
    throw wrongSize(`wanted ${size} bytes, got ${found.size}`, size)
  }
  if (digest !== undefined && found.digest !== digest) {
    throw new OperationError(
      'BLOB_DIGEST_MISMATCH',
      `blob: wanted ${digest}, got ${found.digest}`,
      {
        details: { wanted: digest, found: found.digest },
      },
    )
  }
}

function wrongSize(found: string, wantedBytes: number): OperationError {
  return new OperationError('BLOB_SIZE_MISMATCH', `blob: ${found}`, { details: { wantedBytes } })
}
