import type { FileHandle } from 'node:fs/promises'

import { OperationError } from '../errors.ts'

/**
 * Exactly `length` bytes of a file from `offset`.
 * @throws OperationError BLOB_SIZE_MISMATCH where the file ends before
 */
export async function readExactly(
  file: FileHandle,
  offset: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  await readInto(file, buffer, offset)
  return buffer
}

/**
 * Fills `buffer` with the bytes of a file from `offset`.
 * @throws OperationError BLOB_SIZE_MISMATCH where the file ends before
 */
export async function readInto(
  file: FileHandle,
  buffer: Uint8Array,
  offset: number,
): Promise<void> {
  for (let done = 0; done < buffer.length;) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, offset + done)
    if (bytesRead === 0) throw endsEarly(offset, buffer.length, done)
    done += bytesRead
  }
}

/** Writes all of `bytes` at `offset`; the system may take them in several parts. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done)
    done += bytesWritten
  }
}

/** Writes all of `chunks` behind `offset` in one call where the system takes them at once. */
export async function writeChunksAt(
  file: FileHandle,
  chunks: readonly Uint8Array[],
  offset: number,
): Promise<void> {
  const { bytesWritten } = await file.writev([...chunks], offset)
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  if (bytesWritten === bytes) return
  await writeAt(file, Buffer.concat(chunks).subarray(bytesWritten), offset + bytesWritten)
}

function endsEarly(offset: number, length: number, found: number): OperationError {
  return new OperationError(
    'BLOB_SIZE_MISMATCH',
    `blob file: wanted ${length} bytes from ${offset}, got ${found}`,
    { details: { offset, wantedBytes: length, foundBytes: found } },
  )
}
