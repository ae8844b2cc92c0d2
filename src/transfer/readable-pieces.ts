import type { PartialBlob } from '../store/blob-store.ts'

/** The pieces of a blob on its way, as readers see them. */
export interface ReadablePieces extends Pick<
  PartialBlob,
  'size' | 'pieceLength' | 'pieceCount' | 'hasPiece' | 'readInto'
> {
  /** the bytes of a range of one piece where they are in memory; the caller is a user of their buffer */
  kept?(offset: number, length: number): Buffer | undefined
}

/** Which piece a byte is in. */
export function pieceAt({ pieceLength }: ReadablePieces, offset: number): number {
  return Math.floor(offset / pieceLength)
}

/** A blob that is in memory, as its one piece. */
export function wholePiece(bytes: Buffer): ReadablePieces {
  return {
    size: bytes.length,
    pieceLength: Math.max(1, bytes.length),
    pieceCount: 1,
    hasPiece: () => true,
    kept: (offset, length) => bytes.subarray(offset, offset + length),
    readInto: async (into, offset) => into.set(bytes.subarray(offset, offset + into.length)),
  }
}

/** Bytes of the pieces that are here. */
export function bytesHere(partial: ReadablePieces): number {
  let bytes = 0
  for (let index = 0; index < partial.pieceCount; index += 1) {
    if (!partial.hasPiece(index)) continue
    bytes += Math.min(partial.pieceLength, partial.size - index * partial.pieceLength)
  }
  return bytes
}
