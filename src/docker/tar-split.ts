/**
 * tar-split: what the classic Docker store keeps of a layer's tar once the layer is unpacked. The tar comes
 * out byte for byte when the headers and paddings (segments) and the contents of the files are put together
 * again (github.com/vbatts/tar-split, tar/storage/entry.go).
 */
import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { pipeline } from 'node:stream/promises'

import { asRecord } from '../oci/descriptor.ts'
import { archiveInvalid } from './archived-image.ts'
import { readLines } from '../support/text-lines.ts'

const FILE_TYPE = 1
const SEGMENT_TYPE = 2
// A segment can hold the extended header of one entry, which may be large.
const MAX_LINE_CHARS = 32 * 1024 * 1024

/** A step in putting a tar together: bytes as they are, or the content of a file. */
export type TarSplitEntry =
  | { readonly kind: 'segment'; readonly bytes: Buffer }
  | { readonly kind: 'file'; readonly name: Buffer; readonly size: number }

/**
 * The entries of a `tar-split.json.gz`, in the order of the tar; files without content are left out.
 * @throws OperationError ARCHIVE_INVALID; system errors of the file
 */
export async function* readTarSplit(path: string): AsyncGenerator<TarSplitEntry, void> {
  const gunzip = createGunzip()
  const feeding = pipeline(createReadStream(path), gunzip)
  // The loop below meets the same failure; this keeps it from being reported twice.
  feeding.catch(() => undefined)
  for await (const line of readLines(gunzip, { maxChars: MAX_LINE_CHARS })) {
    const entry = parseTarSplitEntry(line)
    if (entry.kind === 'segment' || entry.size > 0) yield entry
  }
  await feeding
}

/** The size in bytes of the tar that comes out. */
export async function measureTarSplit(path: string): Promise<number> {
  let size = 0
  for await (const entry of readTarSplit(path)) {
    size += entry.kind === 'segment' ? entry.bytes.length : entry.size
  }
  return size
}

function parseTarSplitEntry(line: string): TarSplitEntry {
  const { type, payload, name, name_raw: rawName, size = 0 } = asRecord(parse(line)) ?? {}
  if (type === SEGMENT_TYPE && (typeof payload === 'string' || payload == null)) {
    return { kind: 'segment', bytes: Buffer.from(payload ?? '', 'base64') }
  }
  if (type === FILE_TYPE && typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) {
    // Names that are no UTF-8 are kept apart, in base64.
    if (typeof rawName === 'string') {
      return { kind: 'file', name: Buffer.from(rawName, 'base64'), size }
    }
    if (typeof name === 'string') return { kind: 'file', name: Buffer.from(name), size }
  }
  throw archiveInvalid('tar-split', { wanted: 'a file or a segment', found: line.slice(0, 100) })
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
