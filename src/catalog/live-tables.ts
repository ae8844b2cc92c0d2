import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { maskedCrcOf, UnsoundFile, VarintReader } from './level-format.ts'

/**
 * Which tables a LevelDB consists of, from its manifest: a log of edits that each add and remove tables.
 *
 *   log    = blocks of 32 KiB, each of records; the last 6 bytes or fewer of a block are padding
 *   record = masked CRC-32C of type and data 4 | length 2 | type 1 | data      (leveldb, doc/log_format.md)
 *   edit   = tagged fields, in one record or in several                        (leveldb, db/version_edit.cc)
 */
const BLOCK_BYTES = 32 * 1024
const HEADER_BYTES = 7
const RECORD_TYPES = { none: 0, full: 1, first: 2, middle: 3, last: 4 } as const
const TAGS = {
  comparator: 1,
  logNumber: 2,
  nextFileNumber: 3,
  lastSequence: 4,
  compactPointer: 5,
  removedTable: 6,
  addedTable: 7,
  previousLogNumber: 9,
} as const

/**
 * The numbers of the tables that LevelDB will read when it opens `path`. None where CURRENT or the manifest is
 * missing or unsound: then LevelDB does not open.
 */
export async function liveTables(path: string): Promise<Set<number>> {
  const live = new Set<number>()
  try {
    const current = (await readFile(join(path, 'CURRENT'), 'utf8')).trim()
    if (!/^MANIFEST-\d+$/.test(current)) return live
    for (const edit of recordsOf(await readFile(join(path, current)))) applyEdit(edit, live)
    return live
  } catch {
    return new Set()
  }
}

function* recordsOf(log: Buffer): Generator<Buffer> {
  let parts: Buffer[] = []
  for (let at = 0; at + HEADER_BYTES <= log.length;) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES)
    if (left < HEADER_BYTES) {
      at += left
      continue
    }
    const end = at + HEADER_BYTES + log.readUInt16LE(at + 4)
    const type = log[at + 6]
    // an edit that a crash cut off: LevelDB goes no further either
    if (end > log.length || type === RECORD_TYPES.none) return
    if (log.readUInt32LE(at) !== maskedCrcOf(log.subarray(at + 6, end))) {
      throw new UnsoundFile('the check of an edit is wrong')
    }
    parts.push(log.subarray(at + HEADER_BYTES, end))
    if (type === RECORD_TYPES.full || type === RECORD_TYPES.last) {
      yield Buffer.concat(parts)
      parts = []
    }
    at = end
  }
}

function applyEdit(edit: Buffer, live: Set<number>): void {
  const reader = new VarintReader(edit)
  while (!reader.isAtEnd) {
    const tag = reader.varint()
    if (tag === TAGS.addedTable) live.add(readAddedTable(reader))
    else if (tag === TAGS.removedTable) live.delete(readRemovedTable(reader))
    else skipField(reader, tag)
  }
}

function readAddedTable(reader: VarintReader): number {
  const [, number] = [reader.varint(), reader.varint(), reader.varint()]
  // its smallest and its largest key
  reader.skip(reader.varint())
  reader.skip(reader.varint())
  return number
}

function readRemovedTable(reader: VarintReader): number {
  reader.varint()
  return reader.varint()
}

function skipField(reader: VarintReader, tag: number): void {
  switch (tag) {
    case TAGS.comparator:
      reader.skip(reader.varint())
      return
    case TAGS.compactPointer:
      reader.varint()
      reader.skip(reader.varint())
      return
    case TAGS.logNumber:
    case TAGS.nextFileNumber:
    case TAGS.lastSequence:
    case TAGS.previousLogNumber:
      reader.varint()
      return
    default:
      throw new UnsoundFile(`an edit has the tag ${tag}`)
  }
}
