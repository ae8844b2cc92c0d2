import { crc32 } from 'node:zlib'

import { bytesOf, type Digest } from '../oci/digest.ts'

/**
 * The file beside a partial blob that says which of its pieces are durable:
 *
 *   magic 8 | size 8 | piece length 8 | SHA-256 32 | bitfield ceil(pieces / 8) | CRC-32 of all before 4
 *
 * Numbers are big-endian. A file that does not fit in every byte says nothing at all.
 */
export interface PartialBlobShape {
  readonly digest: Digest
  readonly size: number
  readonly pieceLength: number
}

const MAGIC = Buffer.from('DDPART1\n')
const HEADER_BYTES = MAGIC.length + 8 + 8 + 32
const CRC_BYTES = 4

/** How many pieces a blob has. */
export function pieceCountOf({ size, pieceLength }: PartialBlobShape): number {
  return Math.ceil(size / pieceLength)
}

/** The bytes of a bitfield file. */
export function encodeBitfield(shape: PartialBlobShape, bitfield: Uint8Array): Buffer {
  const body = Buffer.concat([headerOf(shape), bitfield])
  const check = Buffer.alloc(CRC_BYTES)
  check.writeUInt32BE(crc32(body))
  return Buffer.concat([body, check])
}

/** The bitfield of `shape` from the bytes of its file, or undefined where they are of another blob or damaged. */
export function decodeBitfield(shape: PartialBlobShape, bytes: Buffer): Buffer | undefined {
  const length = Math.ceil(pieceCountOf(shape) / 8)
  if (bytes.length !== HEADER_BYTES + length + CRC_BYTES) return undefined
  const body = bytes.subarray(0, -CRC_BYTES)
  if (bytes.readUInt32BE(body.length) !== crc32(body)) return undefined
  if (!body.subarray(0, HEADER_BYTES).equals(headerOf(shape))) return undefined
  const bitfield = Buffer.from(body.subarray(HEADER_BYTES))
  return hasSpareBits(bitfield, pieceCountOf(shape)) ? undefined : bitfield
}

/** Whether piece `index` is set (BEP 3: the high bit of the first byte is piece 0). */
export function hasBit(bitfield: Uint8Array, index: number): boolean {
  return ((bitfield[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0
}

/** Sets or clears piece `index`. */
export function setBit(bitfield: Uint8Array, index: number, isSet: boolean): void {
  const mask = 0x80 >> (index & 7)
  const byte = bitfield[index >> 3] ?? 0
  bitfield[index >> 3] = isSet ? byte | mask : byte & ~mask
}

function headerOf({ digest, size, pieceLength }: PartialBlobShape): Buffer {
  const numbers = Buffer.alloc(16)
  numbers.writeBigUInt64BE(BigInt(size), 0)
  numbers.writeBigUInt64BE(BigInt(pieceLength), 8)
  return Buffer.concat([MAGIC, numbers, bytesOf(digest)])
}

function hasSpareBits(bitfield: Buffer, pieceCount: number): boolean {
  const last = bitfield.at(-1)
  const used = pieceCount % 8
  return last !== undefined && used !== 0 && (last & (0xff >> used)) !== 0
}
