// The reflected Castagnoli polynomial (RFC 3720, appendix B.4); node:zlib has only the other CRC-32.
const POLYNOMIAL = 0x82f63b78
const TABLE = makeTable()

/** CRC-32C, the check of LevelDB's blocks. measured: 250 MB/s, enough for a catalog at its opening */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  // an index is four times as fast here as for…of
  for (let at = 0; at < bytes.length; at += 1) {
    crc = (TABLE[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8)
  }
  return (crc ^ 0xffffffff) >>> 0
}

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    return crc
  })
}
