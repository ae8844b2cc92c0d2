const MIN_PIECE_BYTES = 256 * 1024
const MAX_PIECE_BYTES = 4 * 1024 * 1024
const PIECES_WANTED = 1024

/** Unit of request (BEP 3): clients close connections that ask for more. */
export const BLOCK_BYTES = 16 * 1024

/**
 * The piece length of a blob, bytes: about a thousand pieces, 256 KiB to 4 MiB. Fixed for ever in format 1,
 * so that every holder of a blob derives the same infohash.
 */
export function pieceLength(size: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, size) / PIECES_WANTED))
  return Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, wanted))
}

/** How many pieces a blob of `size` bytes has; an empty one has none. */
export function pieceCount(size: number, lengthOfPiece: number = pieceLength(size)): number {
  return Math.ceil(size / lengthOfPiece)
}
