import { createHash } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { chmod, lstat, open, readdir, readFile, rm, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { systemCodeOf } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { readInto } from './file-bytes.ts'
import {
  decodeBitfield,
  encodeBitfield,
  hasBit,
  pieceCountOf,
  setBit,
  type PartialBlobShape,
} from './partial-bitfield.ts'
import { digestOfBitfieldName, digestOfFileName, type StorePaths } from './paths.ts'

// stat(2): st_blocks counts these, whatever the file system's own are
const STAT_BLOCK_BYTES = 512

/** An open partial file and the pieces that are in it. */
export interface PartialFile {
  readonly file: FileHandle
  readonly bitfield: Buffer
}

/** SHA-1 of a piece by its index, 20 bytes. */
type PieceHash = (index: number) => Uint8Array

/**
 * Opens what an earlier download left of a blob, or begins anew where that is not of this blob in every respect.
 * @param pieceHash where given, pieces whose bytes it does not confirm are dropped, and those that came after the
 *   last checkpoint are taken up: a killed process leaves them in the file
 */
export async function openPartialFile(
  shape: PartialBlobShape,
  paths: StorePaths,
  pieceHash?: PieceHash,
): Promise<PartialFile> {
  const left = await resume(shape, paths)
  if (!left) return await startAnew(shape, paths)
  try {
    if (pieceHash) {
      await dropWrongPieces(left, shape, pieceHash)
      await takeUpPieces(left, shape, pieceHash)
    }
    return left
  } catch (error) {
    await left.file.close()
    throw error
  }
}

/** Digests of which both files are there. */
export async function* listPartialFiles(paths: StorePaths): AsyncIterable<Digest> {
  const names = new Set(await readdir(paths.partial))
  for (const name of names) {
    const digest = digestOfBitfieldName(name)
    if (digest && names.has(name.slice(0, digest.length - 'sha256:'.length))) yield digest
  }
}

/** Removes everything in `partial/` that no download can go on from. */
export async function sweepPartialFiles(
  paths: StorePaths,
  isComplete: (digest: Digest) => Promise<boolean>,
): Promise<void> {
  const resumable = new Set<string>()
  for await (const digest of listPartialFiles(paths)) {
    // a power cut between the commit and its clean-up; the file may share its bytes with the blob
    if (!(await isComplete(digest))) resumable.add(digest)
  }
  for (const name of await readdir(paths.partial)) {
    const digest = digestOfFileName(name) ?? digestOfBitfieldName(name)
    if (digest && resumable.has(digest)) continue
    await rm(join(paths.partial, name), { recursive: true, force: true })
  }
}

async function resume(
  shape: PartialBlobShape,
  paths: StorePaths,
): Promise<PartialFile | undefined> {
  const bitfield = await readBitfield(shape, paths.bitfieldOf(shape.digest))
  const path = paths.partialOf(shape.digest)
  const found = await statOf(path)
  if (!bitfield || !found?.isFile() || found.size !== shape.size) return undefined
  // a commit that was cut off may have taken the right to write
  await chmod(path, 0o600)
  return { file: await open(path, constants.O_RDWR | constants.O_NOFOLLOW), bitfield }
}

async function readBitfield(shape: PartialBlobShape, path: string): Promise<Buffer | undefined> {
  const wantedBytes = encodeBitfield(shape, Buffer.alloc(bitfieldLengthOf(shape))).length
  const found = await statOf(path)
  if (!found?.isFile() || found.size !== wantedBytes) return undefined
  return decodeBitfield(shape, await readFile(path))
}

/** A new file under the name, never the old one cut: whatever else holds the old one keeps its bytes. */
async function startAnew(shape: PartialBlobShape, paths: StorePaths): Promise<PartialFile> {
  const path = paths.partialOf(shape.digest)
  await rm(paths.bitfieldOf(shape.digest), { recursive: true, force: true })
  await rm(path, { recursive: true, force: true })
  const file = await open(path, 'wx+', 0o600)
  try {
    await file.truncate(shape.size)
  } catch (error) {
    await file.close()
    await rm(path, { force: true })
    throw error
  }
  return { file, bitfield: Buffer.alloc(bitfieldLengthOf(shape)) }
}

async function dropWrongPieces(
  { file, bitfield }: PartialFile,
  shape: PartialBlobShape,
  pieceHash: PieceHash,
): Promise<void> {
  for (let index = 0; index < pieceCountOf(shape); index += 1) {
    if (!hasBit(bitfield, index)) continue
    const isRight = await isPieceRight(file, { shape, index, wanted: pieceHash(index) })
    if (!isRight) setBit(bitfield, index, false)
  }
}

/** Looks at further pieces only as long as the file takes up more room than the known ones explain. */
async function takeUpPieces(
  { file, bitfield }: PartialFile,
  shape: PartialBlobShape,
  pieceHash: PieceHash,
): Promise<void> {
  const indexes = [...Array(pieceCountOf(shape)).keys()]
  const known = indexes.filter((index) => hasBit(bitfield, index))
  const { blocks } = await file.stat()
  let unexplainedBytes = blocks * STAT_BLOCK_BYTES - known.length * shape.pieceLength
  for (const index of indexes) {
    // half a piece is left for what the file system itself needs
    if (unexplainedBytes < shape.pieceLength / 2) return
    if (hasBit(bitfield, index)) continue
    if (!(await isPieceRight(file, { shape, index, wanted: pieceHash(index) }))) continue
    setBit(bitfield, index, true)
    unexplainedBytes -= shape.pieceLength
  }
}

async function isPieceRight(
  file: FileHandle,
  { shape, index, wanted }: { shape: PartialBlobShape; index: number; wanted: Uint8Array },
): Promise<boolean> {
  const offset = index * shape.pieceLength
  const bytes = Buffer.allocUnsafe(Math.min(shape.pieceLength, shape.size - offset))
  try {
    await readInto(file, bytes, offset)
  } catch {
    // what cannot be read is fetched again
    return false
  }
  return createHash('sha1').update(bytes).digest().equals(wanted)
}

function bitfieldLengthOf(shape: PartialBlobShape): number {
  return Math.ceil(pieceCountOf(shape) / 8)
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
