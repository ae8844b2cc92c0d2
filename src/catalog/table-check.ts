import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { systemCodeOf } from '../errors.ts'
import { maskedCrcOf, UnsoundFile, VarintReader, type BlockHandle } from './level-format.ts'
import { liveTables } from './live-tables.ts'

/**
 * Proves the tables of LevelDB before LevelDB reads them: it trusts them (neither paranoid_checks nor
 * verify_checksums can be set), and one flipped byte can end the process in an assertion of its own.
 * Its log and its manifest it does check itself.
 *
 *   data blocks … | filter block | metaindex block | index block | footer 48
 *   block  = contents | type 1 | masked CRC-32C of both 4
 *   footer = handle of metaindex | handle of index | padding to 40 | magic 8
 *   handle = offset | size of the contents, both as varints
 *
 * (leveldb, doc/table_format.md.) Only blocks that are not compressed can be followed; the catalog writes no others.
 */
const FOOTER_BYTES = 48
const MAGIC = Buffer.from('57fb808b247547db', 'hex')
const TRAILER_BYTES = 5
const NOT_COMPRESSED = 0

/**
 * The tables of the LevelDB in a folder that are not what was written. What its manifest does not name is left out:
 * LevelDB removes that unread, and a node that was killed leaves such tables half written.
 */
export async function findUnsoundTables(path: string): Promise<string[]> {
  const live = await liveTables(path)
  return await unsoundOf(path, (name) => live.has(Number.parseInt(name, 10)))
}

/** Removes every table that is not sound, so that LevelDB's repair does not meet it. */
export async function removeUnsoundTables(path: string): Promise<void> {
  for (const name of await unsoundOf(path, () => true)) {
    await rm(join(path, name), { recursive: true, force: true })
  }
}

/** Whether every block of a table has the check that it was written with. */
export function isSoundTable(file: Buffer): boolean {
  try {
    const footer = file.subarray(-FOOTER_BYTES)
    if (footer.length < FOOTER_BYTES || !footer.subarray(-MAGIC.length).equals(MAGIC)) return false
    const reader = new VarintReader(footer)
    const [metaindex, index] = [reader.handle(), reader.handle()]
    const blocks = [metaindex, index].flatMap((handle) => handlesIn(contentsOf(file, handle)))
    // reads every block, and so proves it
    for (const handle of blocks) contentsOf(file, handle)
    return true
  } catch (error) {
    if (error instanceof UnsoundFile) return false
    throw error
  }
}

async function unsoundOf(path: string, isWanted: (name: string) => boolean): Promise<string[]> {
  const unsound: string[] = []
  for (const name of (await tableNames(path)).filter(isWanted)) {
    if (!(await isSoundFile(join(path, name)))) unsound.push(name)
  }
  return unsound
}

async function tableNames(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).filter((name) => /\.(?:ldb|sst)$/.test(name))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) return []
    throw error
  }
}

async function isSoundFile(path: string): Promise<boolean> {
  try {
    return isSoundTable(await readFile(path))
  } catch (error) {
    const code = systemCodeOf(error) ?? ''
    // LevelDB removes tables that it no longer needs
    if (code === 'ENOENT') return true
    if (['EISDIR', 'EIO'].includes(code)) return false
    throw error
  }
}

function contentsOf(file: Buffer, { offset, size }: BlockHandle): Buffer {
  const end = offset + size
  const block = file.subarray(offset, end + TRAILER_BYTES)
  if (block.length !== size + TRAILER_BYTES) throw new UnsoundFile('a block lies outside')
  const check = block.readUInt32LE(size + 1)
  if (check !== maskedCrcOf(block.subarray(0, size + 1))) throw new UnsoundFile('a check is wrong')
  if (block[size] !== NOT_COMPRESSED) throw new UnsoundFile('a block is compressed')
  return block.subarray(0, size)
}

/** The handles that an index block or metaindex block has as its values. */
function handlesIn(block: Buffer): BlockHandle[] {
  if (block.length < 4) throw new UnsoundFile('a block is too short')
  const restartCount = block.readUInt32LE(block.length - 4)
  const reader = new VarintReader(block.subarray(0, block.length - 4 * (restartCount + 1)))
  const handles: BlockHandle[] = []
  while (!reader.isAtEnd) {
    reader.varint()
    const [keyBytes, valueBytes] = [reader.varint(), reader.varint()]
    reader.skip(keyBytes)
    const value = reader.skip(valueBytes)
    handles.push(new VarintReader(value).handle())
  }
  return handles
}
